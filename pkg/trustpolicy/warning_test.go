package trustpolicy_test

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	const (
		sub     = `"StringEquals": {"` + issuer + `:aud": "sts.amazonaws.com", "` + issuer + `:sub": "` + subject + `"}`
		aud     = `"StringEquals": {"` + issuer + `:aud": "sts.amazonaws.com"}`
		anyone  = "statement 1 has no condition that requires a sub, so every ServiceAccount of the cluster can assume the role; add a condition on sub"
		anyAud  = "statement 1 has no condition that requires an aud, so tokens with any audience of the provider are accepted; add a condition on aud"
		version = `"Version": "2012-10-17", `
	)
	like := func(subject string) string {
		return allowing(aud + `, "StringLike": {"` + issuer + `:sub": "` + subject + `"}`)
	}
	tests := []struct {
		name, policy string
		want         []string
	}{
		{"a policy without excess", allowing(sub), nil},
		{"a wildcard for the ServiceAccounts of one namespace", like("system:serviceaccount:shop:*"), nil},
		{"no condition", allowing(""), []string{anyone, anyAud}},
		{"no condition on sub", allowing(aud), []string{anyone}},
		{"no condition on aud", allowing(`"StringEquals": {"` + issuer + `:sub": "` + subject + `"}`), []string{anyAud}},
		{"a condition on sub that only excludes values", allowing(aud + `, "StringNotEquals": {"` + issuer + `:sub": "x"}`), []string{anyone}},
		{"a condition on sub that excludes one value", allowing(aud + `, "ForAnyValue:StringNotLike": {"` + issuer + `:sub": "x"}`), []string{anyone}},
		{"a condition on sub that only requires the key", allowing(aud + `, "Null": {"` + issuer + `:sub": "false"}`), []string{anyone}},
		{"wildcards for all ServiceAccounts of the cluster", like("system:serviceaccount:*:*"), []string{`statement 1 has "system:serviceaccount:*:*" on sub, so every ServiceAccount of the cluster can assume the role; name the namespace`}},
		{"a wildcard for namespaces", like("system:serviceaccount:shop-*:checkout"), []string{`statement 1 has "system:serviceaccount:shop-*:checkout" on sub, so anyone who can create a namespace with such a name can assume the role; name the namespace`}},
		{"a wildcard across the colon", like("system:serviceaccount:*checkout"), []string{`statement 1 has "system:serviceaccount:*checkout" on sub, which can match more than one namespace; write system:serviceaccount:NAMESPACE:NAME`}},
		{"a wildcard for every sub", like("*"), []string{`statement 1 has "*" on sub, which can match more than one namespace; write system:serviceaccount:NAMESPACE:NAME`}},
		{"a wildcard for every audience", allowing(`"StringLike": {"` + issuer + `:aud": "*", "` + issuer + `:sub": "` + subject + `"}`), []string{`statement 1 has "*" on aud, so tokens with any audience of the provider are accepted; require one audience`}},
		{"a wildcard in StringEquals", allowing(strings.Replace(sub, ":checkout", ":*", 1)), []string{`statement 1 has "system:serviceaccount:shop:*" in StringEquals, which compares * and ? literally; use StringLike`}},
		{"ForAllValues", allowing(strings.Replace(sub, "StringEquals", "ForAllValues:StringEquals", 1)), []string{
			"statement 1 has ForAllValues on " + issuer + ":aud, which also allows requests without that key; use ForAnyValue, or no prefix for a key with a single value",
			"statement 1 has ForAllValues on " + issuer + ":sub, which also allows requests without that key; use ForAnyValue, or no prefix for a key with a single value",
			anyone, anyAud,
		}},
		{"IfExists", allowing(aud + `, "StringEqualsIfExists": {"` + issuer + `:sub": "` + subject + `"}`), []string{
			"statement 1 has IfExists on " + issuer + ":sub, which also allows requests without that key; remove IfExists", anyone,
		}},
		{"a key of another issuer", allowing(aud + `, "StringLike": {"` + issuer + `/:sub": "` + subject + `"}`), []string{
			"statement 1 has the key " + issuer + "/:sub, but the issuer of its provider is " + issuer + "; correct the key or the provider",
		}},
		{"every principal", strings.Replace(allowing(sub), `{"Federated": "`+provider+`"}`, `{"AWS": "*"}`, 1), []string{
			"statement 1 allows every principal that meets the conditions, from any provider; name the provider as Federated",
		}},
		{"a variable in an older policy", strings.Replace(allowing(aud+`, "StringLike": {"`+issuer+`:sub": "system:serviceaccount:shop:${aws:PrincipalTag/x}"}`), version, "", 1), []string{
			"statement 1 has ${...}, which is a variable only in Version 2012-10-17; set that version",
		}},
		{"a policy that is too long", allowing(aud + `, "StringLike": {"` + issuer + `:sub": "system:serviceaccount:shop:` + strings.Repeat("x", 2000) + `"}`), []string{
			`the policy has 2340 characters, and the default limit of IAM is 2048; raise the quota "Role trust policy length", up to 4096`,
		}},
		{"a Deny statement", strings.Replace(allowing(""), "Allow", "Deny", 1), nil},
		{"a statement for roles", strings.Replace(strings.Replace(allowing(""), "AssumeRoleWithWebIdentity", "AssumeRole", 1), "Federated", "AWS", 1), nil},
		{"a statement for services", strings.Replace(strings.Replace(allowing(""), provider, "pods.eks.amazonaws.com", 1), "Federated", "Service", 1), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parse(t, test.policy).Warnings(); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}
