package main

import (
	"strings"
	"testing"
)

func TestTrustPolicy(t *testing.T) {
	const policy, role = "testdata/trust-policy.json", "testdata/get-role.json"
	for name, lines := range map[string][]string{
		"trust policy serviceaccount": {
			"trust-policy shop/cart",
			"trust-policy cart -n shop --audience sts.amazonaws.com.cn -o yaml",
			"trust-policy shop/cart -o json --issuer https://oidc.example.com/prod --account-id 444455556666 --partition aws-cn",
		},
		"trust policy wildcard warnings": {
			"trust-policy shop/* web/front", "trust-policy shop-*/cart", "trust-policy */*",
		},
		"trust policy multiple issuers": {
			"trust-policy shop/cart --issuer https://oidc.example.com/a --issuer https://oidc.example.com/b/ --account-id 111122223333",
		},
		"trust policy invalid": {
			"trust-policy", "trust-policy shop/", "trust-policy a/b/c", "trust-policy shop/Cart", "trust-policy shop/cart --issuer http://x",
			"trust-policy shop/cart --account-id 1 --issuer https://x", "trust-policy shop/cart --partition x --account-id 111122223333 --issuer https://x",
		},
		"trust policy check": {
			"trust-policy shop/cart --check " + policy,
			"trust-policy shop/cart web/front store/cart --check " + policy,
			"trust-policy shop/cart --issuer https://oidc.example.com/prod/ --check " + policy,
			"trust-policy web/front --check " + policy + " -o json",
			"trust-policy shop/* --check " + policy, "trust-policy shop/cart --check other.json", "trust-policy shop/cart --check -",
		},
		"trust policy check unknown": {
			"trust-policy web/front --check " + role, "trust-policy web/front --check " + role + " -o json",
			"trust-policy web/front shop/cart --check " + role,
		},
		"trust policy add": {
			"trust-policy shop/cart --add-to " + role, "trust-policy shop/cart web/front --add-to " + role + " -o yaml",
			// Nothing to add.
			"trust-policy web/front --add-to " + role, "trust-policy shop/cart --add-to " + policy,
			"trust-policy shop/cart --add-to " + role + " --check " + role, "trust-policy shop/cart --add-to other.json", "trust-policy shop/cart --add-to -",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			var output strings.Builder
			for _, line := range lines {
				output.WriteString(b.run(t, line) + "\n")
			}
			golden(t, name, output.String())
		})
	}
}
