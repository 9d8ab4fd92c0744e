package trustpolicy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

func TestParse_malformed(t *testing.T) {
	const valid = `{"Effect": "Allow", "Principal": {"Federated": "` + provider + `"}, "Action": "sts:AssumeRoleWithWebIdentity"}`
	with := func(old, replaced string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("%q is not in %s", old, valid)
		}
		return `{"Version": "2012-10-17", "Statement": ` + strings.Replace(valid, old, replaced, 1) + `}`
	}
	condition := func(conditions string) string { return with(`{"Effect"`, `{"Condition": `+conditions+`, "Effect"`) }
	tests := []struct {
		name, document string
		// message is a part of IAM's message, hint a part of the hint.
		message, hint string
	}{
		{"nothing", ``, "invalid Json", ""},
		{"an incomplete document", `{"Version": "2012-10-17", "Statement": [`, "invalid Json", ""},
		{"two documents", with("", "") + "{}", "invalid Json", ""},
		{"a comma too many", `{"Statement": [` + valid + `],}`, "invalid Json", ""},
		{"too many levels of nesting", strings.Repeat("[", 100) + strings.Repeat("]", 100), "invalid Json", ""},
		{"invalid UTF-8", "{\"Statement\": \"\xff\"}", "invalid Json", ""},
		{"a list", `[]`, "Syntax errors", ""},
		{"an unknown element", `{"Statements": []}`, "Syntax errors", "did you mean Statement?"},
		{"an element in lower case", strings.Replace(with("", ""), "Version", "version", 1), "Syntax errors", "did you mean Version?"},
		{"an element twice", `{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}`, "Syntax errors", ""},
		{"an unknown version", strings.Replace(with("", ""), "2012-10-17", "2012-10-18", 1), "valid version", "2012-10-17"},
		{"a version that is a number", strings.Replace(with("", ""), `"2012-10-17"`, "2012", 1), "Syntax errors", ""},
		{"no statement", `{"Version": "2012-10-17"}`, "Statement is empty", ""},
		{"an empty list of statements", `{"Version": "2012-10-17", "Statement": []}`, "Statement is empty", ""},
		{"a statement that is text", `{"Version": "2012-10-17", "Statement": "x"}`, "Syntax errors", ""},
		{"an unknown element of a statement", with(`"Effect"`, `"Comment": "x", "Effect"`), "Syntax errors", ""},
		{"an element of a statement twice", with(`"Effect"`, `"Effect": "Deny", "Effect"`), "Syntax errors", ""},
		{"the same Sid twice", `{"Statement": [` + strings.Replace(valid, "{", `{"Sid": "x",`, 1) + "," + strings.Replace(valid, "{", `{"Sid": "x",`, 1) + `]}`, "not unique", ""},
		{"no effect", with(`"Effect": "Allow",`, ""), "Missing required field Effect", ""},
		{"an effect in lower case", with("Allow", "allow"), "Invalid effect: allow", "case-sensitive"},
		{"an effect that is a number", with(`"Allow"`, "1"), "Invalid effect: 1", ""},
		{"no principal", with(`"Principal": {"Federated": "`+provider+`"},`, ""), "Missing required field Principal", ""},
		{"a principal that is text", with(`{"Federated": "`+provider+`"}`, `"`+provider+`"`), "Syntax errors", "Federated"},
		{"an empty principal", with(`{"Federated": "`+provider+`"}`, `{}`), "cannot be empty", ""},
		{"an empty list of principals", with(`"`+provider+`"`, `[]`), "Syntax errors", ""},
		{"a kind of principal in lower case", with("Federated", "federated"), "Invalid principal in policy", "did you mean Federated?"},
		{"a kind of principal twice", with(`{"Federated"`, `{"Federated": "x", "Federated"`), "Syntax errors", ""},
		{"NotPrincipal with Allow", with("Principal", "NotPrincipal"), "Allow with NotPrincipal", ""},
		{"NotPrincipal with Deny", strings.Replace(with("Principal", "NotPrincipal"), "Allow", "Deny", 1), "must not contain NotPrincipal", ""},
		{"no action", with(`, "Action": "sts:AssumeRoleWithWebIdentity"`, ""), "Missing required field Action", ""},
		{"an empty list of actions", with(`"sts:AssumeRoleWithWebIdentity"`, "[]"), "Syntax errors", ""},
		{"an action of another service", with("sts:AssumeRoleWithWebIdentity", "s3:GetObject"), "may only specify STS", trustpolicy.Action},
		{"an action without a service", with("sts:AssumeRoleWithWebIdentity", "AssumeRoleWithWebIdentity"), "may only specify STS", trustpolicy.Action},
		{"all actions", with("sts:AssumeRoleWithWebIdentity", "*"), "may only specify STS", ""},
		{"an action that is a number", with(`"sts:AssumeRoleWithWebIdentity"`, `1`), "Syntax errors", ""},
		{"Action and NotAction", with(`"Action"`, `"NotAction": "sts:AssumeRole", "Action"`), "Syntax errors", ""},
		{"a resource", with(`"Action"`, `"Resource": "*", "Action"`), "prohibited field Resource", "remove it"},
		{"a NotResource", with(`"Action"`, `"NotResource": "*", "Action"`), "must not contain resources", "remove it"},
		{"a condition that is a list", condition(`[]`), "Syntax errors", ""},
		{"an unknown operator", condition(`{"StringMatches": {}}`), "Syntax errors", ""},
		{"an operator in lower case", condition(`{"stringequals": {}}`), "Syntax errors", "did you mean StringEquals?"},
		{"an operator without its s", condition(`{"StringEqual": {}}`), "Syntax errors", "did you mean StringEquals?"},
		{"an unknown set", condition(`{"ForAnyValues:StringLike": {}}`), "Syntax errors", "did you mean ForAnyValue:StringLike?"},
		{"Null with IfExists", condition(`{"NullIfExists": {"a:b": "true"}}`), "Syntax errors", ""},
		{"an operator twice", condition(`{"StringLike": {"a:b": "x"}, "StringLike": {"a:c": "x"}}`), "Syntax errors", "under one StringLike"},
		{"a key twice", condition(`{"StringLike": {"a:b": "x", "a:b": "y"}}`), "Syntax errors", "list of values"},
		{"an operator of text", condition(`{"StringLike": "x"}`), "Syntax errors", ""},
		{"a key with https", condition(`{"StringEquals": {"https://` + issuer + `:sub": "x"}}`), "only one colon", "did you mean " + issuer + ":sub, without https://?"},
		{"a key with http", condition(`{"StringEquals": {"HTTP://` + issuer + `:sub": "x"}}`), "only one colon", "did you mean " + issuer + ":sub, without http://?"},
		{"a key without an issuer", condition(`{"StringEquals": {"sub": "x"}}`), "prefaced by a vendor", "issuer:sub"},
		{"a value that is null", condition(`{"StringEquals": {"a:b": null}}`), "Syntax errors", ""},
		{"a value that is an object", condition(`{"StringEquals": {"a:b": {"c": "d"}}}`), "Syntax errors", ""},
		{"no value", condition(`{"StringEquals": {"a:b": []}}`), "Syntax errors", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy, err := trustpolicy.Parse([]byte(test.document))
			fault, ok := errors.AsType[*trustpolicy.MalformedError](err)
			if !ok {
				t.Fatalf("got %v, %+v, want *MalformedError", err, policy)
			}
			if !strings.Contains(fault.Message, test.message) {
				t.Errorf("got message %q, want %q", fault.Message, test.message)
			}
			if test.hint != "" && !strings.Contains(fault.Hint, test.hint) {
				t.Errorf("got hint %q, want %q", fault.Hint, test.hint)
			}
			if !strings.Contains(err.Error(), fault.Message) || !strings.Contains(err.Error(), fault.Hint) {
				t.Errorf("got error %q, want message and hint", err)
			}
		})
	}
}

func TestParse_roundTrip(t *testing.T) {
	for _, document := range []string{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}`,
		`{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"a","Effect":"Deny","Principal":{"AWS":["1","2"],"Service":"x"},"NotAction":["sts:a","sts:b"],` +
			`"Condition":{"ForAllValues:StringLikeIfExists":{"a:b":["<&>","\"\\"],"c:d":"true"},"Null":{"e:f":"true"}}}]}`,
		`{"Statement":[{"Effect":"Allow","Principal":{"Federated":"x"},"Action":"sts:AssumeRole"}]}`,
	} {
		written, err := parse(t, document).MarshalJSON()
		if err != nil || string(written) != document {
			t.Errorf("got  %s, %v\nwant %s", written, err, document)
		}
	}
}
