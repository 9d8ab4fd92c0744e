package trustpolicy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// A policy that can be parsed can be evaluated. Encoded and parsed again, it evaluates to
// the same decision.
func FuzzParse(f *testing.F) {
	f.Add(allowing(`"StringLike": {"`+issuer+`:sub": ["system:serviceaccount:shop:*", "${`+issuer+`:sub}"]}`), subject)
	f.Add(allowing(`"ForAllValues:ArnLikeIfExists": {"a:b": "*:*"}, "NumericLessThan": {"a:b": 1e9}, "DateEquals": {"a:b": 5}`), "a:b")
	f.Add(`{"Statement": {"Effect": "Deny", "Principal": "*", "NotAction": "sts:*", "Condition": {"Null": {"a:b": true}}}}`, "")
	f.Add(`{"Version": "2008-10-17", "Statement": [[[[[[[[[[]]]]]]]]]]}`, "x")
	f.Fuzz(func(t *testing.T, document, subject string) {
		policy, err := trustpolicy.Parse([]byte(document))
		if _, ok := errors.AsType[*trustpolicy.MalformedError](err); err != nil && !ok {
			t.Fatalf("got error %T: %v, want *MalformedError", err, err)
		}
		if err != nil {
			return
		}
		of := claims()
		of.Subject = subject
		r := trustpolicy.ForToken(provider, of, subject)
		decision := policy.Evaluate(r)
		if decision.Allowed != (len(decision.Explain()) == 0) || decision.Allowed && decision.ExplicitDeny {
			t.Errorf("got %+v with explanation %q", decision, decision.Explain())
		}
		// A decision that is not unknown is the same for each call, also one without any key.
		partial := r
		partial.Partial = true
		if without := policy.Evaluate(partial); !without.Unknown && without.Allowed != decision.Allowed || without.Unknown == (len(without.UnknownKeys()) == 0) {
			t.Errorf("got %+v without the call, want allowed %t or unknown keys", without, decision.Allowed)
		}
		// IAM's limit is the only reason why a statement cannot be added.
		if added, _, err := trustpolicy.Add([]byte(document), grant); err == nil {
			before, after := policy.Evaluate(partial), added.Evaluate(partial)
			if added.Evaluate(grantRequest(provider)).NeedsAllow() || before.ExplicitDeny != after.ExplicitDeny || before.Allowed && !after.Allowed {
				t.Errorf("got %+v after a statement was added to %s", after, document)
			}
		} else if !strings.Contains(err.Error(), "exceed the limit of IAM") {
			t.Errorf("got %v when a statement was added to %s", err, document)
		}
		policy.Warnings()
		written, err := policy.Indent()
		if err != nil {
			t.Fatal(err)
		}
		again, err := trustpolicy.Parse(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if again.Evaluate(r).Allowed != decision.Allowed {
			t.Errorf("got another decision after encoding, want allowed %t:\n%s", decision.Allowed, written)
		}
	})
}

var grant = trustpolicy.Grant{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "cart"}}}

// grantRequest returns the request of the grant's ServiceAccount.
func grantRequest(provider string) trustpolicy.Request {
	of := claims()
	of.Subject, of.Audience = "system:serviceaccount:shop:cart", []string{trustpolicy.DefaultAudience}
	return trustpolicy.ForToken(provider, of, "")
}

// StringLike matches by the definition of * and ?.
func FuzzStringLike(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Add("**?", "")
	f.Add("*a*a*b", "aaaaaa")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 12 || len(text) > 12 || strings.Contains(pattern, "${") || text == "" || !utf8.ValidString(pattern) {
			return // matches takes exponential time, and a key with an empty value is absent
		}
		policy := allowing(`"StringLike": {"test:text": ` + quoteJSON(t, pattern) + `}`)
		parsed, err := trustpolicy.Parse([]byte(policy))
		if err != nil {
			t.Fatal(err)
		}
		r := trustpolicy.Request{Action: trustpolicy.Action, Provider: provider, Context: map[string][]string{"test:text": {text}}}
		if got := parsed.Evaluate(r).Allowed; got != matches([]rune(pattern), []rune(text)) {
			t.Errorf("%q matches %q: got %t, want %t", pattern, text, got, !got)
		}
	})
}

// matches reports whether pattern matches text by the definition of * and ?.
func matches(pattern, text []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == '*':
		return matches(pattern[1:], text) || len(text) > 0 && matches(pattern, text[1:])
	default:
		return len(text) > 0 && (pattern[0] == '?' || pattern[0] == text[0]) && matches(pattern[1:], text[1:])
	}
}

func quoteJSON(t *testing.T, s string) string {
	t.Helper()
	quoted, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}
