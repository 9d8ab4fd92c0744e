package trustpolicy_test

import (
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

const (
	issuer   = "oidc.example.com/id/1"
	provider = "arn:aws:iam::111122223333:oidc-provider/" + issuer
	subject  = "system:serviceaccount:shop:checkout"
)

func claims() token.Claims {
	return token.Claims{Issuer: "https://" + issuer, Subject: subject, Audience: []string{"sts.amazonaws.com"}}
}

func request() trustpolicy.Request { return trustpolicy.ForToken(provider, claims(), "checkout-1") }

func TestWhatNewWritesAllowsItsServiceAccountAlone(t *testing.T) {
	policy, err := trustpolicy.New(trustpolicy.Grant{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "checkout"}}})
	if err != nil {
		t.Fatal(err)
	}
	if decision := policy.Evaluate(request()); !decision.Allowed {
		t.Errorf("its own ServiceAccount is refused: %q", decision.Explain())
	}
	other := claims()
	other.Subject = "system:serviceaccount:shop:other"
	if policy.Evaluate(trustpolicy.ForToken(provider, other, "x")).Allowed {
		t.Error("another ServiceAccount is allowed")
	}
	written, err := policy.Indent()
	if err != nil {
		t.Fatal(err)
	}
	read, err := trustpolicy.Parse(written)
	if err != nil {
		t.Fatalf("what is written cannot be read: %v\n%s", err, written)
	}
	if !read.Evaluate(request()).Allowed {
		t.Errorf("what is written refuses it:\n%s", written)
	}
}
