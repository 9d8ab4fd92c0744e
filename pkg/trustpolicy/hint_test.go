package trustpolicy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// A near miss is a policy that differs in one place from one that allows the
// request of request().
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
		{"a slash at the end of the provider", principal(`{"Federated": "` + provider + `/"}`), "the issuer has no slash at its end: did you mean " + provider + "?"},
		{"https in the provider", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/https://` + issuer + `"}`), "the issuer is written without https://: did you mean " + provider + "?"},
		{"http in the provider", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/http://` + issuer + `"}`), "the issuer is written without http://: did you mean " + provider + "?"},
		{"an issuer for a provider", principal(`{"Federated": "https://` + issuer + `"}`), "that is a URL, not an ARN: did you mean " + provider + "?"},
		{"an issuer without https for a provider", principal(`{"Federated": "` + issuer + `"}`), "it is no ARN of an OIDC provider: did you mean " + provider + "?"},
		{"the provider of another account", principal(`{"Federated": "arn:aws:iam::999999999999:oidc-provider/` + issuer + `"}`), "the provider is of another account or partition: did you mean " + provider + "?"},
		{"the provider of another partition", principal(`{"Federated": "arn:aws-cn:iam::111122223333:oidc-provider/` + issuer + `"}`), "the provider is of another account or partition: did you mean " + provider + "?"},
		{"the provider of another issuer", principal(`{"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/2"}`), "it is of another issuer, and the token is of " + issuer + ": did you mean " + provider + "?"},
		{"a provider in upper case", principal(`{"Federated": "` + strings.Replace(provider, "oidc.example", "OIDC.example", 1) + `"}`), "it differs in upper and lower case: did you mean " + provider + "?"},
		{"a provider with space", principal(`{"Federated": "` + provider + ` "}`), "there is space around it: did you mean " + provider + "?"},
		{"a provider as AWS", principal(`{"AWS": "` + provider + `"}`), "an OIDC provider is Federated, not AWS"},
		{"an account as AWS", principal(`{"AWS": "arn:aws:iam::111122223333:root"}`), `AWS is for users and roles of AWS: tokens need {"Federated": "` + provider + `"}`},
		{"a service", principal(`{"Service": "pods.eks.amazonaws.com"}`), `Service is for services of AWS, such as EC2 instances or EKS Pod Identity: tokens need {"Federated": "` + provider + `"}`},

		{"AssumeRole in place of AssumeRoleWithWebIdentity", strings.Replace(allowing(sub), trustpolicy.Action, "sts:AssumeRole", 1), "a token is exchanged by sts:AssumeRoleWithWebIdentity"},
		{"NotAction of the action", strings.Replace(allowing(sub), `"Action"`, `"NotAction"`, 1), "NotAction leaves it out"},

		{"a slash at the end of the key's issuer", key(issuer + "/:sub"), "the key begins with the issuer: the issuer has no slash at its end: did you mean " + issuer + ":sub?"},
		{"another issuer in the key", key("oidc.example.com/id/2:sub"), "the key begins with the issuer: it is of another issuer, and the token is of " + issuer + ": did you mean " + issuer + ":sub?"},
		{"no issuer in the key", key("oidc:sub"), "the key begins with the issuer: it is of another issuer, and the token is of " + issuer + ": did you mean " + issuer + ":sub?"},
		{"a key of a claim that AWS does not know", key(issuer + ":kubernetes.io"), "AWS makes condition keys of few claims: a ServiceAccount's token has " + issuer + ":sub and " + issuer + ":aud"},
		{"Null of a claim that AWS does not know", allowing(`"Null": {"` + issuer + `:namespace": "false"}`), "AWS makes condition keys of few claims: a ServiceAccount's token has " + issuer + ":sub and " + issuer + ":aud"},
		{"Null of a claim that is there", allowing(`"Null": {"` + issuer + `:sub": "true"}`), "Null of true wants the key not to be there"},
		{"a key of the call, of which nothing is known", allowing(`"StringEquals": {"aws:RequestedRegion": "eu-west-1"}`), ""},

		{"a wildcard in StringEquals", subjectIs("system:serviceaccount:shop:*"), "StringEquals takes * and ? for themselves: use StringLike"},
		{"another namespace", subjectIs("system:serviceaccount:store:checkout"), "the ServiceAccount's name is right, but its namespace is shop, not store"},
		{"another ServiceAccount", subjectIs("system:serviceaccount:shop:check-out"), "the namespace is right, but the ServiceAccount is checkout, not check-out"},
		{"another namespace, by wildcards", subjectLike("system:serviceaccount:store-*:*"), "the ServiceAccount's name is right, but its namespace is shop, not store-*"},
		{"another ServiceAccount, by wildcards", subjectLike("system:serviceaccount:shop:app-*"), "the namespace is right, but the ServiceAccount is checkout, not app-*"},
		{"quite another subject", subjectIs("system:serviceaccount:store:cart"), ""},
		{"namespace and name exchanged", subjectIs("system:serviceaccount:checkout:shop"), "namespace and name are exchanged: did you mean " + subject + "?"},
		{"a subject in upper case", subjectIs("system:serviceaccount:Shop:checkout"), "it differs in upper and lower case: did you mean " + subject + "?"},
		{"a subject with space", subjectIs(subject + " "), "there is space around it"},
		{"a subject without its prefix", subjectIs("shop:checkout"), "system:serviceaccount: is missing before it: did you mean " + subject + "?"},
		{"a subject as kubectl names it", subjectIs("shop/checkout"), "system:serviceaccount: is missing before it: did you mean " + subject + "?"},
		{"the name alone", subjectIs("checkout"), "system:serviceaccount: is missing before it: did you mean " + subject + "?"},
		{"a slash between namespace and name", subjectIs("system:serviceaccount:shop/checkout"), "a colon is between namespace and name, not a slash: did you mean " + subject + "?"},
		{"a namespace alone", subjectIs("system:serviceaccount:shop"), "it names no ServiceAccount: the form is system:serviceaccount:NAMESPACE:NAME"},
		{"the group of a namespace", subjectIs("system:serviceaccounts:shop"), "that is the group of a namespace's ServiceAccounts, which a token does not have: did you mean system:serviceaccount:shop:*, with StringLike?"},
		{"a prefix in upper case", subjectIs("System:ServiceAccount:shop:other"), "system:serviceaccount: is in lower case: did you mean " + subject + "?"},
		{"a subject of another kind", subjectIs("repo:octo-org/octo-repo:ref:refs/heads/main"), "the subject of a ServiceAccount begins with system:serviceaccount:"},
		{"a subject that is ruled out", allowing(strings.Replace(sub, "StringEquals", "StringNotEquals", 1)), "the operator is negated: it rules these out"},
		{"the right one of several is hinted at", allowing(`"StringEquals": {"` + issuer + `:sub": ["system:serviceaccount:a:b", "system:serviceaccount:shop:cart"]}`), "the namespace is right, but the ServiceAccount is checkout, not cart"},

		{"the issuer's URL as the audience", audience("https://" + issuer), "that is an issuer's or an API server's URL: the webhook's tokens are for sts.amazonaws.com"},
		{"the API server's audience", audience("https://kubernetes.default.svc.cluster.local"), "that is an issuer's or an API server's URL: the webhook's tokens are for sts.amazonaws.com"},
		{"an audience of one's own", audience("vault"), "the webhook's tokens are for sts.amazonaws.com, unless the annotation audience says otherwise"},

		{"a variable that the request has no value for", subjectIs("${aws:username}"), "the request has no value for the variable ${aws:username}, which makes the statement void"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decision := parse(t, test.policy).Evaluate(request())
			if decision.Allowed {
				t.Fatal("it is allowed")
			}
			mismatches := decision.Statements[0].Mismatches
			if len(mismatches) != 1 || mismatches[0].Hint != test.hint {
				t.Fatalf("got  %+v\nwant the one hint %q", mismatches, test.hint)
			}
			if said := decision.Explain(); len(said) != 1 || !strings.HasSuffix(said[0], test.hint) {
				t.Errorf("got %q", said)
			}
		})
	}
}

func TestHints_audience(t *testing.T) {
	policy := parse(t, allowing(`"StringEquals": {"`+issuer+`:aud": "sts.amazonaws.com"}`))
	for audience, hint := range map[string]string{
		"https://kubernetes.default.svc": "the token is for https://kubernetes.default.svc, which is an API server's audience: it is not the one that the webhook mounts at AWS_WEB_IDENTITY_TOKEN_FILE",
		"vault":                          "the token is for vault: that comes from the annotation audience of the ServiceAccount, or the webhook's --token-audience",
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
	if want := "the issuer ends in a slash, which is part of its name: did you mean " + arn + "?"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestExplain(t *testing.T) {
	policy := parse(t, `{"Version": "2012-10-17", "Statement": [{"Sid": "Shop", "Effect": "Allow", "Principal": {"Federated": "accounts.google.com"},
		"Action": "sts:AssumeRole", "Condition": {"StringEquals": {"`+issuer+`:sub": ["1", "2", "3", "4", "5", "6"]}, "StringLike": {"aws:SourceVpc": "vpc-*"}}}]}`)
	want := []string{
		`statement 1 (Shop) does not allow it: Principal is "Federated accounts.google.com", not "` + provider + `": it is no ARN of an OIDC provider: did you mean ` + provider + `?`,
		`statement 1 (Shop) does not allow it: Action is "sts:AssumeRole", not "sts:AssumeRoleWithWebIdentity": a token is exchanged by sts:AssumeRoleWithWebIdentity`,
		`statement 1 (Shop) does not allow it: StringEquals of ` + issuer + `:sub wants "1" or "2" or "3" or "4" or 2 more, and the request has "` + subject + `": the subject of a ServiceAccount begins with system:serviceaccount:`,
		`statement 1 (Shop) does not allow it: StringLike of aws:SourceVpc wants "vpc-*", and the request has no such key`,
	}
	got := policy.Evaluate(request()).Explain()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
