package trustpolicy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// parse returns a policy, which must be valid.
func parse(t *testing.T, document string) trustpolicy.Document {
	t.Helper()
	policy, err := trustpolicy.Parse([]byte(document))
	if err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	return policy
}

// allowing returns a policy with one Allow statement that has these conditions.
func allowing(conditions string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": %q},
		"Action": "sts:AssumeRoleWithWebIdentity", "Condition": {%s}}]}`, provider, conditions)
}

func TestEvaluate_conditions(t *testing.T) {
	context := map[string][]string{
		"test:text": {"abc"}, "test:star": {"a*c"}, "test:empty": {""}, "test:none": {}, "test:list": {"a", "b"}, "test:Number": {"10.5"},
		"test:date": {"2026-03-01T12:00:00Z"}, "test:epoch": {"1772366400"}, "test:bool": {"True"},
		"test:ip4": {"203.0.113.7"}, "test:ip6": {"2001:db8::7"}, "test:mapped": {"::ffff:203.0.113.7"},
		"test:arn": {"arn:aws:sns:eu-west-1:111122223333:topic:sub"}, "test:bytes": {"hello"},
	}
	tests := []struct {
		name, condition string
		matches         bool
	}{
		{"StringEquals is true of equal text", `"StringEquals": {"test:text": "abc"}`, true},
		{"StringEquals is case-sensitive", `"StringEquals": {"test:text": "Abc"}`, false},
		{"one of several values is enough", `"StringEquals": {"test:text": ["x", "abc"]}`, true},
		{"StringEquals compares a star literally", `"StringEquals": {"test:text": "a*"}`, false},
		{"StringEquals is true of a literal star", `"StringEquals": {"test:star": "a*c"}`, true},
		{"the name of a key is case-insensitive", `"StringEquals": {"TEST:Text": "abc"}`, true},
		{"an absent key does not match", `"StringEquals": {"test:absent": "abc"}`, false},
		{"a key without values is absent", `"StringEquals": {"test:none": "abc"}`, false},
		{"two operators must both be true", `"StringEquals": {"test:text": "abc"}, "StringLike": {"test:text": "x*"}`, false},
		{"two keys must both match", `"StringEquals": {"test:text": "abc", "test:star": "x"}`, false},
		{"an operator without keys is true", `"StringEquals": {}`, true},
		{"no condition is true", ``, true},

		{"StringNotEquals is true of other text", `"StringNotEquals": {"test:text": "x"}`, true},
		{"StringNotEquals is false if one of several values is equal", `"StringNotEquals": {"test:text": ["x", "abc"]}`, false},
		{"StringNotEquals is true of an absent key", `"StringNotEquals": {"test:absent": "x"}`, true},
		{"StringEqualsIgnoreCase ignores case", `"StringEqualsIgnoreCase": {"test:text": "ABC"}`, true},
		{"StringNotEqualsIgnoreCase ignores case", `"StringNotEqualsIgnoreCase": {"test:text": "ABC"}`, false},

		{"StringLike with a star", `"StringLike": {"test:text": "a*"}`, true},
		{"a star matches no characters", `"StringLike": {"test:text": "abc*"}`, true},
		{"StringLike with a question mark", `"StringLike": {"test:text": "a?c"}`, true},
		{"a question mark matches exactly one character", `"StringLike": {"test:text": "abc?"}`, false},
		{"StringLike must match the whole value", `"StringLike": {"test:text": "b"}`, false},
		{"StringLike backtracks to a star", `"StringLike": {"test:text": "*c"}`, true},
		{"StringLike is case-sensitive", `"StringLike": {"test:text": "A*"}`, false},
		{"StringNotLike", `"StringNotLike": {"test:text": "a*"}`, false},

		{"IfExists is true of an absent key", `"StringEqualsIfExists": {"test:absent": "abc"}`, true},
		{"IfExists compares a present key", `"StringEqualsIfExists": {"test:text": "x"}`, false},

		{"ForAllValues is true if every value matches", `"ForAllValues:StringEquals": {"test:list": ["a", "b", "c"]}`, true},
		{"ForAllValues is false if one value does not match", `"ForAllValues:StringEquals": {"test:list": ["a"]}`, false},
		{"ForAllValues is true of an absent key", `"ForAllValues:StringEquals": {"test:absent": "a"}`, true},
		{"ForAllValues is true of an empty value", `"ForAllValues:StringEquals": {"test:empty": "a"}`, true},
		{"ForAllValues of a negated operator is false if one value matches", `"ForAllValues:StringNotEquals": {"test:list": ["b"]}`, false},
		{"ForAnyValue is true if one value matches", `"ForAnyValue:StringEquals": {"test:list": ["b", "c"]}`, true},
		{"ForAnyValue is false of an absent key", `"ForAnyValue:StringEquals": {"test:absent": "a"}`, false},
		{"ForAnyValue of a negated operator is false of an absent key", `"ForAnyValue:StringNotEquals": {"test:absent": "a"}`, false},
		{"ForAnyValue of a negated operator is true if one value does not match", `"ForAnyValue:StringNotEquals": {"test:list": ["b"]}`, true},
		{"ForAnyValue with IfExists is true of an absent key", `"ForAnyValue:StringEqualsIfExists": {"test:absent": "a"}`, true},
		{"without a set, one of several values of the request is enough", `"StringEquals": {"test:list": "b"}`, true},
		{"without a set, a negated operator is false if one value of the request matches", `"StringNotEquals": {"test:list": "b"}`, false},

		{"Null with true is true of an absent key", `"Null": {"test:absent": "true"}`, true},
		{"Null with true is false of a present key", `"Null": {"test:text": "true"}`, false},
		{"Null with false is true of a present key", `"Null": {"test:text": "false"}`, true},
		{"Null with false is false of an absent key", `"Null": {"test:absent": "false"}`, false},
		{"Null accepts a boolean without quotes", `"Null": {"test:absent": true}`, true},

		{"Bool ignores case", `"Bool": {"test:bool": "true"}`, true},
		{"Bool accepts a boolean without quotes", `"Bool": {"test:bool": false}`, false},

		{"NumericEquals compares numbers, not text", `"NumericEquals": {"test:number": "10.50"}`, true},
		{"a number needs no quotes", `"NumericEquals": {"test:number": 10.5}`, true},
		{"NumericNotEquals", `"NumericNotEquals": {"test:number": "10"}`, true},
		{"NumericLessThan", `"NumericLessThan": {"test:number": "10.5"}`, false},
		{"NumericLessThanEquals", `"NumericLessThanEquals": {"test:number": "10.5"}`, true},
		{"NumericGreaterThan", `"NumericGreaterThan": {"test:number": "9"}`, true},
		{"NumericGreaterThanEquals", `"NumericGreaterThanEquals": {"test:number": "11"}`, false},
		{"text is not less than a number", `"NumericLessThan": {"test:text": "11"}`, false},
		{"a number is not less than text", `"NumericLessThan": {"test:number": "many"}`, false},

		{"DateEquals", `"DateEquals": {"test:date": "2026-03-01T12:00:00Z"}`, true},
		{"a date in another zone", `"DateEquals": {"test:date": "2026-03-01T13:00:00+01:00"}`, true},
		{"a date in seconds", `"DateEquals": {"test:date": "1772366400"}`, true},
		{"seconds and a date", `"DateEquals": {"test:epoch": "2026-03-01T12:00:00Z"}`, true},
		{"DateNotEquals", `"DateNotEquals": {"test:date": "2026-03-01"}`, true},
		{"DateLessThan a day", `"DateLessThan": {"test:date": "2026-03-02"}`, true},
		{"DateLessThanEquals a year", `"DateLessThanEquals": {"test:date": "2026"}`, false},
		{"DateGreaterThan a month", `"DateGreaterThan": {"test:date": "2026-03"}`, true},
		{"DateGreaterThanEquals minutes", `"DateGreaterThanEquals": {"test:date": "2026-03-01T12:00Z"}`, true},
		{"text is not a date", `"DateGreaterThan": {"test:text": "2026"}`, false},

		{"IpAddress in a range", `"IpAddress": {"test:ip4": "203.0.113.0/24"}`, true},
		{"IpAddress outside a range", `"IpAddress": {"test:ip4": "198.51.100.0/24"}`, false},
		{"IpAddress without a prefix is one address", `"IpAddress": {"test:ip4": "203.0.113.7"}`, true},
		{"IpAddress of IPv6", `"IpAddress": {"test:ip6": "2001:DB8::/64"}`, true},
		{"an IPv4-mapped IPv6 address is an IPv4 address", `"IpAddress": {"test:mapped": "203.0.113.0/24"}`, true},
		{"NotIpAddress", `"NotIpAddress": {"test:ip4": "203.0.113.0/24"}`, false},
		{"text is not an address", `"IpAddress": {"test:text": "0.0.0.0/0"}`, false},

		{"ArnLike of parts", `"ArnLike": {"test:arn": "arn:aws:sns:*:111122223333:topic:*"}`, true},
		{"a star of ArnLike ends at a colon", `"ArnLike": {"test:arn": "arn:aws:*:topic:sub"}`, false},
		{"ArnEquals accepts wildcards", `"ArnEquals": {"test:arn": "arn:aws:sns:*:*:*"}`, true},
		{"ArnNotLike", `"ArnNotLike": {"test:arn": "arn:aws:sns:*:*:*"}`, false},
		{"ArnNotEquals is true of text that is not an ARN", `"ArnNotEquals": {"test:text": "*:*:*:*:*:*"}`, true},

		{"BinaryEquals compares with base64", `"BinaryEquals": {"test:bytes": "aGVsbG8="}`, true},
		{"BinaryEquals of other bytes", `"BinaryEquals": {"test:bytes": "aGVsbA=="}`, false},

		{"a variable stands for a key of the request", `"StringEquals": {"test:text": "${test:text}"}`, true},
		{"a variable within a value", `"StringLike": {"test:star": "${test:STAR}*"}`, true},
		{"a star in the value of a variable is literal", `"StringLike": {"test:text": "${test:star}"}`, false},
		{"a variable for a literal star does not match other text", `"StringLike": {"test:text": "a${*}c"}`, false},
		{"a variable for a literal star matches a star", `"StringLike": {"test:star": "a${*}c"}`, true},
		{"a variable with a default", `"StringEquals": {"test:text": "${test:absent, 'abc'}"}`, true},
		{"a variable with a value and a default", `"StringEquals": {"test:text": "${test:text, 'x'}"}`, true},
		{"a variable that cannot be resolved", `"StringEquals": {"test:text": ["${test:absent}", "abc"]}`, false},
		{"StringNotEquals is true of a variable that cannot be resolved", `"StringNotEquals": {"test:text": "${test:absent}"}`, true},
		{"a negated operator compares the values that can be resolved", `"StringNotLike": {"test:text": ["${test:absent}", "a*"]}`, false},
		{"ForAnyValue of a negated operator and a variable that cannot be resolved", `"ForAnyValue:StringNotEquals": {"test:list": "${test:absent}"}`, true},
		{"IfExists is true of an absent key and a variable that cannot be resolved", `"StringEqualsIfExists": {"test:absent": "${test:absent}"}`, true},
		{"IfExists is false of a present key and a variable that cannot be resolved", `"StringEqualsIfExists": {"test:text": "${test:absent}"}`, false},
		{"a key with several values has no value as a variable", `"StringEquals": {"test:list": "${test:list}"}`, false},
		{"a variable that is not closed is text", `"StringEquals": {"test:text": "${test:text"}`, false},
		{"no variable in a number", `"NumericEquals": {"test:number": "${test:number}"}`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := trustpolicy.Request{Action: trustpolicy.Action, Provider: provider, Context: context}
			decision := parse(t, allowing(test.condition)).Evaluate(r)
			if decision.Allowed != test.matches {
				t.Errorf("got allowed %t, want %t: %q", decision.Allowed, test.matches, decision.Explain())
			}
			if decision.Allowed != (len(decision.Explain()) == 0) {
				t.Errorf("got allowed %t with explanation %q", decision.Allowed, decision.Explain())
			}
		})
	}
}

func TestEvaluate_statements(t *testing.T) {
	const (
		allow  = `{"Effect": "Allow", "Principal": {"Federated": "` + provider + `"}, "Action": "sts:AssumeRoleWithWebIdentity"}`
		others = `{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/other"}, "Action": "sts:AssumeRoleWithWebIdentity"}`
		deny   = `{"Sid": "NotThisOne", "Effect": "Deny", "Principal": "*", "Action": "sts:*", "Condition": {"StringEquals": {"` + issuer + `:sub": "` + subject + `"}}}`
	)
	tests := []struct {
		name, statements string
		allowed, denied  bool
	}{
		{"an Allow that matches", allow, true, false},
		{"an Allow that does not match", others, false, false},
		{"one of two Allows matches", others + "," + allow, true, false},
		{"a Deny overrides an Allow", allow + "," + deny, false, true},
		{"a Deny without an Allow", deny, false, true},
		{
			"a Deny with a variable that cannot be resolved",
			allow + `,{"Effect": "Deny", "Principal": "*", "Action": "sts:*", "Condition": {"StringNotEquals": {"sts:RoleSessionName": "${aws:PrincipalTag/team}"}}}`, false, true,
		},
		{"an action is case-insensitive", strings.ReplaceAll(allow, "sts:AssumeRoleWithWebIdentity", "STS:assumerolewithwebidentity"), true, false},
		{"an action with a wildcard", strings.ReplaceAll(allow, "sts:AssumeRoleWithWebIdentity", "sts:AssumeRole*"), true, false},
		{"one of several actions", strings.ReplaceAll(allow, `"sts:AssumeRoleWithWebIdentity"`, `["sts:TagSession", "sts:AssumeRoleWithWebIdentity"]`), true, false},
		{"another action", strings.ReplaceAll(allow, "sts:AssumeRoleWithWebIdentity", "sts:AssumeRole"), false, false},
		{"NotAction of another action", strings.ReplaceAll(allow, `"Action": "sts:AssumeRoleWithWebIdentity"`, `"NotAction": "sts:AssumeRole"`), true, false},
		{"NotAction of the action", strings.ReplaceAll(allow, `"Action"`, `"NotAction"`), false, false},
		{"one of several principals", strings.ReplaceAll(allow, `"`+provider+`"`, `["accounts.google.com", "`+provider+`"]`), true, false},
		{"every principal", strings.ReplaceAll(allow, `{"Federated": "`+provider+`"}`, `{"AWS": "*"}`), true, false},
		{"a wildcard does not match part of an ARN", strings.ReplaceAll(allow, issuer, "*"), false, false},
		{"an ARN is case-sensitive", strings.ReplaceAll(allow, issuer, strings.ToUpper(issuer)), false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decision := parse(t, `{"Version": "2012-10-17", "Statement": [`+test.statements+`]}`).Evaluate(request())
			if decision.Allowed != test.allowed || decision.ExplicitDeny != test.denied {
				t.Errorf("got allowed %t, denied %t, want %t, %t: %q", decision.Allowed, decision.ExplicitDeny, test.allowed, test.denied, decision.Explain())
			}
		})
	}
}

func TestEvaluate_emptyAudienceFirst(t *testing.T) {
	of := claims()
	of.Audience = []string{"", "vault"}
	policy := parse(t, allowing(`"StringNotEquals": {"`+issuer+`:aud": "vault"}`))
	if policy.Evaluate(trustpolicy.ForToken(provider, of, "x")).Allowed {
		t.Error("got allowed for a token with audience vault, want not allowed")
	}
}

func TestEvaluate_version2008(t *testing.T) {
	for _, version := range []string{`"Version": "2008-10-17", `, ""} {
		policy := parse(t, strings.Replace(allowing(`"StringEquals": {"`+issuer+`:sub": "${`+issuer+`:sub}"}`), `"Version": "2012-10-17", `, version, 1))
		if policy.Evaluate(request()).Allowed {
			t.Errorf("%s: got allowed, want the variable not expanded", version)
		}
	}
}

func TestEvaluate_emptyDocument(t *testing.T) {
	decision := trustpolicy.Document{}.Evaluate(request())
	if decision.Allowed || len(decision.Explain()) != 1 {
		t.Errorf("got %+v, %q, want one reason why it is not allowed", decision, decision.Explain())
	}
}

func TestExplain_explicitDeny(t *testing.T) {
	policy := parse(t, `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"},
		{"Sid": "No", "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRoleWithWebIdentity"}]}`)
	want := "statement 2 (No) denies the request, which overrides every Allow"
	if got := policy.Evaluate(request()).Explain(); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
