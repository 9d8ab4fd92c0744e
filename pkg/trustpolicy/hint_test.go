package trustpolicy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// Each policy differs in one place from a policy that allows request().
func TestHints(t *testing.T) {
	const (
		sub = `"StringEquals": {"` + issuer + `:sub": "` + subject + `"}`
		aud = `"StringEquals": {"` + issuer + `:aud": "sts.amazonaws.com"}`
	)
	principal := func(principal string) string {
		return strings.Replace(allowing(""), fmt.Sprintf(`{"Federated": %q}`, provider), principal, 1)
	}
	subjectIs := func(value string) string { return allowing(strings.Replace(sub, subject, value, 1)) }
	subjectLike := func(value string) string {
		return strings.Replace(subjectIs(value), "StringEquals", "StringLike", 1)
	}
	key := func(key string) string { return allowing(strings.Replace(sub, issuer+":sub", key, 1)) }
	audience := func(value string) string { return allowing(strings.Replace(aud, "sts.amazonaws.com", value, 1)) }
	tests := []struct{ name, policy, hint string }{
		{"a slash at the end of the provider", principal(`{"Federated": "` + provider + `/"}`), "the token's issuer does not end in a slash; did you mean " + provider + "?"},
		{"https:// in the provider", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/https://` + issuer + `"}`), "the issuer must not begin with https://; did you mean " + provider + "?"},
		{"http in the provider", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/http://` + issuer + `"}`), "the issuer must not begin with http://; did you mean " + provider + "?"},
		{"an issuer in place of the provider", principal(`{"Federated": "https://` + issuer + `"}`), "the value is a URL, not an ARN; did you mean " + provider + "?"},
		{"an issuer without https:// in place of the provider", principal(`{"Federated": "` + issuer + `"}`), "the value is not the ARN of an OIDC provider; did you mean " + provider + "?"},
		{"the provider of another account", principal(`{"Federated": "arn:aws:iam::999999999999:oidc-provider/` + issuer + `"}`), "the provider is in another account or partition; did you mean " + provider + "?"},
		{"the provider of another partition", principal(`{"Federated": "arn:aws-cn:iam::111122223333:oidc-provider/` + issuer + `"}`), "the provider is in another account or partition; did you mean " + provider + "?"},
		{"the provider of another issuer", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/2"}`), "the issuer differs from the token's issuer " + issuer + "; did you mean " + provider + "?"},
		{"a provider in upper case", principal(`{"Federated": "` + strings.Replace(provider, "oidc.example", "OIDC.example", 1) + `"}`), "the value differs in upper and lower case; did you mean " + provider + "?"},
		{"a provider with space", principal(`{"Federated": "` + provider + ` "}`), "the value has spaces around it; did you mean " + provider + "?"},
		{"a provider as AWS", principal(`{"AWS": "` + provider + `"}`), "the OIDC provider must be under Federated, not AWS"},
		{"an account as AWS", principal(`{"AWS": "arn:aws:iam::111122223333:root"}`), `AWS is for AWS users and roles; tokens need {"Federated": "` + provider + `"}`},
		{"a service", principal(`{"Service": "pods.eks.amazonaws.com"}`), `Service is for AWS services, such as EC2 instances or EKS Pod Identity; tokens need {"Federated": "` + provider + `"}`},

		{"AssumeRole in place of AssumeRoleWithWebIdentity", strings.Replace(allowing(sub), trustpolicy.Action, "sts:AssumeRole", 1), "tokens are exchanged with sts:AssumeRoleWithWebIdentity"},
		{"NotAction of the action", strings.Replace(allowing(sub), `"Action"`, `"NotAction"`, 1), "NotAction excludes this action"},

		{"a slash at the end of the key's issuer", key(issuer + "/:sub"), "the key must begin with the issuer; the token's issuer does not end in a slash; did you mean " + issuer + ":sub?"},
		{"another issuer in the key", key("oidc.example.com/id/2:sub"), "the key must begin with the issuer; the issuer differs from the token's issuer " + issuer + "; did you mean " + issuer + ":sub?"},
		{"no issuer in the key", key("oidc:sub"), "the key must begin with the issuer; the issuer differs from the token's issuer " + issuer + "; did you mean " + issuer + ":sub?"},
		{"a key of a claim without a condition key", key(issuer + ":kubernetes.io"), "AWS provides condition keys for few claims; a ServiceAccount's token has " + issuer + ":sub and " + issuer + ":aud"},
		{"Null with a claim without a condition key", allowing(`"Null": {"` + issuer + `:namespace": "false"}`), "AWS provides condition keys for few claims; a ServiceAccount's token has " + issuer + ":sub and " + issuer + ":aud"},
		{"Null with a claim that is there", allowing(`"Null": {"` + issuer + `:sub": "true"}`), "Null with true requires that the key is absent"},
		{"a key of the call without a value", allowing(`"StringEquals": {"aws:RequestedRegion": "eu-west-1"}`), ""},

		{"a wildcard in StringEquals", subjectIs("system:serviceaccount:shop:*"), "StringEquals compares * and ? literally; use StringLike"},
		{"another namespace", subjectIs("system:serviceaccount:store:checkout"), "the ServiceAccount name matches, but the namespace is shop, not store"},
		{"another ServiceAccount", subjectIs("system:serviceaccount:shop:check-out"), "the namespace matches, but the ServiceAccount is checkout, not check-out"},
		{"another namespace, by wildcards", subjectLike("system:serviceaccount:store-*:*"), "the ServiceAccount name matches, but the namespace is shop, not store-*"},
		{"another ServiceAccount, by wildcards", subjectLike("system:serviceaccount:shop:app-*"), "the namespace matches, but the ServiceAccount is checkout, not app-*"},
		{"a subject with other namespace and name", subjectIs("system:serviceaccount:store:cart"), ""},
		{"namespace and name exchanged", subjectIs("system:serviceaccount:checkout:shop"), "namespace and name are swapped; did you mean " + subject + "?"},
		{"a subject in upper case", subjectIs("system:serviceaccount:Shop:checkout"), "the value differs in upper and lower case; did you mean " + subject + "?"},
		{"a subject with space", subjectIs(subject + " "), "the value has spaces around it"},
		{"a subject without its prefix", subjectIs("shop:checkout"), "the prefix system:serviceaccount: is missing; did you mean " + subject + "?"},
		{"a subject in the form namespace/name", subjectIs("shop/checkout"), "the prefix system:serviceaccount: is missing; did you mean " + subject + "?"},
		{"the name alone", subjectIs("checkout"), "the prefix system:serviceaccount: is missing; did you mean " + subject + "?"},
		{"a slash between namespace and name", subjectIs("system:serviceaccount:shop/checkout"), "a colon separates namespace and name, not a slash; did you mean " + subject + "?"},
		{"a namespace alone", subjectIs("system:serviceaccount:shop"), "the subject has no ServiceAccount name; the form is system:serviceaccount:NAMESPACE:NAME"},
		{"the group of a namespace", subjectIs("system:serviceaccounts:shop"), "the value is the group of a namespace's ServiceAccounts, which a token does not contain; did you mean system:serviceaccount:shop:*, with StringLike?"},
		{"a prefix in upper case", subjectIs("System:ServiceAccount:shop:other"), "the prefix system:serviceaccount: must be in lower case; did you mean " + subject + "?"},
		{"a subject of another kind", subjectIs("repo:octo-org/octo-repo:ref:refs/heads/main"), "the subject of a ServiceAccount begins with system:serviceaccount:"},
		{"a subject that is excluded", allowing(strings.Replace(sub, "StringEquals", "StringNotEquals", 1)), "the operator is negated, so it excludes these values"},
		{"the hint is for the most similar of several values", allowing(`"StringEquals": {"` + issuer + `:sub": ["system:serviceaccount:a:b", "system:serviceaccount:shop:cart"]}`), "the namespace matches, but the ServiceAccount is checkout, not cart"},

		{"the issuer's URL as the audience", audience("https://" + issuer), "the value is the URL of an issuer or an API server; the webhook's tokens have the audience sts.amazonaws.com"},
		{"the API server's audience", audience("https://kubernetes.default.svc.cluster.local"), "the value is the URL of an issuer or an API server; the webhook's tokens have the audience sts.amazonaws.com"},
		{"a custom audience", audience("vault"), "the webhook's tokens have the audience sts.amazonaws.com, unless the annotation audience sets another"},

		{"a variable that the request has no value for", subjectIs("${aws:username}"), "the request has no value for the variable ${aws:username}, so the condition is false"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decision := parse(t, test.policy).Evaluate(request())
			if decision.Allowed {
				t.Fatal("got allowed, want not allowed")
			}
			mismatches := decision.Statements[0].Mismatches
			if len(mismatches) != 1 || mismatches[0].Hint != test.hint {
				t.Fatalf("got  %+v\nwant the one hint %q", mismatches, test.hint)
			}
			if got := decision.Explain(); len(got) != 1 || !strings.HasSuffix(got[0], test.hint) {
				t.Errorf("got %q, want one reason that ends in %q", got, test.hint)
			}
		})
	}
}

func TestHints_audience(t *testing.T) {
	policy := parse(t, allowing(`"StringEquals": {"`+issuer+`:aud": "sts.amazonaws.com"}`))
	for audience, hint := range map[string]string{
		"https://kubernetes.default.svc": "the token's audience is that of an API server; use the token that the webhook mounts at AWS_WEB_IDENTITY_TOKEN_FILE",
		"vault":                          "the token's audience comes from the ServiceAccount's annotation audience or the webhook's --token-audience",
	} {
		of := claims()
		of.Audience = []string{audience}
		got := policy.Evaluate(trustpolicy.ForToken(provider, of, "x")).Statements[0].Mismatches
		if len(got) != 1 || got[0].Hint != hint {
			t.Errorf("%s: got %+v", audience, got)
		}
	}
}

func TestHints_trailingSlash(t *testing.T) {
	arn, err := trustpolicy.ProviderARN("aws", "111122223333", "https://"+issuer+"/")
	if err != nil || arn != provider+"/" {
		t.Fatalf("got %q, %v", arn, err)
	}
	policy, err := trustpolicy.New(trustpolicy.Grant{Provider: arn, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "checkout"}}})
	if err != nil {
		t.Fatal(err)
	}
	if decision := policy.Evaluate(trustpolicy.ForToken(arn, claims(), "x")); !decision.Allowed {
		t.Errorf("%q", decision.Explain())
	}
	got := parse(t, allowing("")).Evaluate(trustpolicy.ForToken(arn, claims(), "x")).Statements[0].Mismatches[0].Hint
	if want := "the token's issuer ends in a slash, which is part of its name; did you mean " + arn + "?"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestExplain(t *testing.T) {
	policy := parse(t, `{"Version": "2012-10-17", "Statement": [{"Sid": "Shop", "Effect": "Allow", "Principal": {"Federated": "accounts.google.com"},
		"Action": "sts:AssumeRole", "Condition": {"StringEquals": {"`+issuer+`:sub": ["1", "2", "3", "4", "5", "6"]}, "StringLike": {"aws:SourceVpc": "vpc-*"}}}]}`)
	want := []string{
		`statement 1 (Shop) does not allow the request: Principal is "Federated accounts.google.com", but the request has "` + provider + `"; the value is not the ARN of an OIDC provider; did you mean ` + provider + `?`,
		`statement 1 (Shop) does not allow the request: Action is "sts:AssumeRole", but the request has "sts:AssumeRoleWithWebIdentity"; tokens are exchanged with sts:AssumeRoleWithWebIdentity`,
		`statement 1 (Shop) does not allow the request: StringEquals on ` + issuer + `:sub requires "1" or "2" or "3" or "4" or 2 more, but the request has "` + subject + `"; the subject of a ServiceAccount begins with system:serviceaccount:`,
		`statement 1 (Shop) does not allow the request: StringLike on aws:SourceVpc requires "vpc-*", but the request has no such key`,
	}
	got := policy.Evaluate(request()).Explain()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
