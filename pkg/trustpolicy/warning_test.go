package trustpolicy_test

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	const (
		sub     = `"StringEquals": {"` + issuer + `:aud": "sts.amazonaws.com", "` + issuer + `:sub": "` + subject + `"}`
		aud     = `"StringEquals": {"` + issuer + `:aud": "sts.amazonaws.com"}`
		anyone  = "statement 1 has no condition on sub that holds: each ServiceAccount of the cluster may assume the role"
		anyAud  = "statement 1 has no condition on aud that holds: a token for any audience of the provider is taken"
		version = `"Version": "2012-10-17", `
	)
	like := func(subject string) string {
		return allowing(aud + `, "StringLike": {"` + issuer + `:sub": "` + subject + `"}`)
	}
	tests := []struct {
		name, policy string
		want         []string
	}{
		{"the least policy", allowing(sub), nil},
		{"a wildcard for the ServiceAccounts of one namespace", like("system:serviceaccount:shop:*"), nil},
		{"no condition", allowing(""), []string{anyone, anyAud}},
		{"no condition on sub", allowing(aud), []string{anyone}},
		{"no condition on aud", allowing(`"StringEquals": {"` + issuer + `:sub": "` + subject + `"}`), []string{anyAud}},
		{"a condition on sub that only rules out", allowing(aud + `, "StringNotEquals": {"` + issuer + `:sub": "x"}`), []string{anyone}},
		{"a condition on sub of which one value is ruled out", allowing(aud + `, "ForAnyValue:StringNotLike": {"` + issuer + `:sub": "x"}`), []string{anyone}},
		{"a condition on sub that only wants it", allowing(aud + `, "Null": {"` + issuer + `:sub": "false"}`), []string{anyone}},
		{"each ServiceAccount of the cluster", like("system:serviceaccount:*:*"), []string{`statement 1 has "system:serviceaccount:*:*" on sub: each ServiceAccount of the cluster may assume the role`}},
		{"ServiceAccounts of namespaces by a wildcard", like("system:serviceaccount:shop-*:checkout"), []string{`statement 1 has "system:serviceaccount:shop-*:checkout" on sub: whoever can make a namespace of such a name may assume the role`}},
		{"a wildcard across the colon", like("system:serviceaccount:*checkout"), []string{`statement 1 has "system:serviceaccount:*checkout" on sub, which can be of more than one namespace`}},
		{"a wildcard for all", like("*"), []string{`statement 1 has "*" on sub, which can be of more than one namespace`}},
		{"a wildcard for each audience", allowing(`"StringLike": {"` + issuer + `:aud": "*", "` + issuer + `:sub": "` + subject + `"}`), []string{`statement 1 has "*" on aud: a token for any audience of the provider is taken`}},
		{"a wildcard in StringEquals", allowing(strings.Replace(sub, ":checkout", ":*", 1)), []string{`statement 1 has "system:serviceaccount:shop:*" in StringEquals, which takes * and ? for themselves: use StringLike`}},
		{"ForAllValues", allowing(strings.Replace(sub, "StringEquals", "ForAllValues:StringEquals", 1)), []string{
			"statement 1 has ForAllValues on " + issuer + ":aud, which is true of a request without that key: use ForAnyValue, or none for a key of one value",
			"statement 1 has ForAllValues on " + issuer + ":sub, which is true of a request without that key: use ForAnyValue, or none for a key of one value",
			anyone, anyAud,
		}},
		{"IfExists", allowing(aud + `, "StringEqualsIfExists": {"` + issuer + `:sub": "` + subject + `"}`), []string{
			"statement 1 has IfExists on " + issuer + ":sub, which is true of a request without that key", anyone,
		}},
		{"a key of another issuer", allowing(aud + `, "StringLike": {"` + issuer + `/:sub": "` + subject + `"}`), []string{
			"statement 1 has the key " + issuer + "/:sub, but its provider is of " + issuer + ": one of the two is not as it was meant",
		}},
		{"everyone", strings.Replace(allowing(sub), `{"Federated": "`+provider+`"}`, `{"AWS": "*"}`, 1), []string{
			"statement 1 allows everyone whom the conditions do not keep out, from whatever provider",
		}},
		{"a variable in an older policy", strings.Replace(allowing(aud+`, "StringLike": {"`+issuer+`:sub": "system:serviceaccount:shop:${aws:PrincipalTag/x}"}`), version, "", 1), []string{
			"statement 1 has ${...}, which are only characters without Version 2012-10-17",
		}},
		{"a policy that does not fit", allowing(aud + `, "StringLike": {"` + issuer + `:sub": "system:serviceaccount:shop:` + strings.Repeat("x", 2000) + `"}`), []string{
			`the policy has 2340 characters, and IAM takes 2048: its quota "Role trust policy length" must be raised, which it can be up to 4096`,
		}},
		{"what denies", strings.Replace(allowing(""), "Allow", "Deny", 1), nil},
		{"what is for roles", strings.Replace(strings.Replace(allowing(""), "AssumeRoleWithWebIdentity", "AssumeRole", 1), "Federated", "AWS", 1), nil},
		{"what is for services", strings.Replace(strings.Replace(allowing(""), provider, "pods.eks.amazonaws.com", 1), "Federated", "Service", 1), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parse(t, test.policy).Warnings(); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}
