package trustpolicy_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

func TestNew_allowsOnlyItsServiceAccount(t *testing.T) {
	policy, err := trustpolicy.New(trustpolicy.Grant{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "checkout"}}})
	if err != nil {
		t.Fatal(err)
	}
	if decision := policy.Evaluate(request()); !decision.Allowed {
		t.Errorf("ServiceAccount of the grant: got not allowed: %q", decision.Explain())
	}
	other := claims()
	other.Subject = "system:serviceaccount:shop:other"
	if policy.Evaluate(trustpolicy.ForToken(provider, other, "x")).Allowed {
		t.Error("another ServiceAccount: got allowed, want not allowed")
	}
	written, err := policy.Indent()
	if err != nil {
		t.Fatal(err)
	}
	read, err := trustpolicy.Parse(written)
	if err != nil {
		t.Fatalf("Parse of the encoded policy: %v\n%s", err, written)
	}
	if !read.Evaluate(request()).Allowed {
		t.Errorf("encoded policy: got not allowed, want allowed:\n%s", written)
	}
}

func TestNew_golden(t *testing.T) {
	one := trustpolicy.Grant{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "checkout"}}}
	tests := []struct {
		name   string
		grants []trustpolicy.Grant
		golden string
	}{
		{"one ServiceAccount", []trustpolicy.Grant{one}, "one"},
		{"wildcards", []trustpolicy.Grant{{Provider: provider, Subjects: []trustpolicy.Subject{
			{Namespace: "shop", ServiceAccount: "*"}, {Namespace: "team-?", ServiceAccount: "app"}, {Namespace: "shop", ServiceAccount: "*"},
		}}}, "wildcards"},
		{"two clusters and an audience", []trustpolicy.Grant{one, {
			Provider: "arn:aws-cn:iam::111122223333:oidc-provider/127.0.0.1:6443", Audience: "sts.amazonaws.com.cn", Subjects: one.Subjects,
		}}, "clusters"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy, err := trustpolicy.New(test.grants...)
			if err != nil {
				t.Fatal(err)
			}
			written, err := policy.Indent()
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, test.golden+".json", written)
			if again := parse(t, string(written)); again.Length() != policy.Length() {
				t.Errorf("parsed again: got length %d, want %d", again.Length(), policy.Length())
			}
		})
	}
}

func TestNew_invalid(t *testing.T) {
	subjects := []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "checkout"}}
	many := make([]trustpolicy.Subject, 200)
	for i := range many {
		many[i] = trustpolicy.Subject{Namespace: "shop", ServiceAccount: fmt.Sprintf("app-%d", i)}
	}
	tests := []struct {
		name   string
		grants []trustpolicy.Grant
		fault  string
	}{
		{"nothing", nil, "no ServiceAccount to allow"},
		{"no ServiceAccount", []trustpolicy.Grant{{Provider: provider}}, ": no ServiceAccount"},
		{"no provider", []trustpolicy.Grant{{Subjects: subjects}}, "is not an ARN"},
		{"a provider with a scheme", []trustpolicy.Grant{{Provider: "arn:aws:iam::111122223333:oidc-provider/https://x", Subjects: subjects}}, "is not an ARN"},
		{"a provider that is an issuer", []trustpolicy.Grant{{Provider: "oidc.example.com", Subjects: subjects}}, "without https://"},
		{"the ARN of a role", []trustpolicy.Grant{{Provider: "arn:aws:iam::111122223333:role/x", Subjects: subjects}}, "is not an ARN"},
		{"no name", []trustpolicy.Grant{{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "shop"}}}}, `invalid ServiceAccount name ""`},
		{"a name with a colon", []trustpolicy.Grant{{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "a:b", ServiceAccount: "c"}}}}, `invalid namespace name "a:b"`},
		{"a name with a variable", []trustpolicy.Grant{{Provider: provider, Subjects: []trustpolicy.Subject{{Namespace: "a", ServiceAccount: "${x}"}}}}, `invalid ServiceAccount name "${x}"`},
		{"a policy that is too long", []trustpolicy.Grant{{Provider: provider, Subjects: many}}, "limit of IAM, which is 2048, or 4096"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := trustpolicy.New(test.grants...)
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got %v, want %s", err, test.fault)
			}
		})
	}
}

func TestProviderARN(t *testing.T) {
	tests := []struct{ name, partition, account, issuer, want string }{
		{"an issuer of EKS", "aws", "111122223333", "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC", "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"},
		{"an issuer with a port", "aws-cn", "111122223333", "https://127.0.0.1:6443", "arn:aws-cn:iam::111122223333:oidc-provider/127.0.0.1:6443"},
		{"https in upper case, which would give two URLs the same ARN", "aws", "111122223333", "HTTPS://oidc.example.com", ""},
		{"no https", "aws", "111122223333", "http://oidc.example.com", ""},
		{"not a URL", "aws", "111122223333", "oidc.example.com", ""},
		{"a query", "aws", "111122223333", "https://oidc.example.com?x=y", ""},
		{"a space", "aws", "111122223333", "https://oidc.example.com/a b", ""},
		{"no account", "aws", "", "https://oidc.example.com", ""},
		{"no partition", "", "111122223333", "https://oidc.example.com", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := trustpolicy.ProviderARN(test.partition, test.account, test.issuer)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			if want := strings.TrimPrefix(test.issuer, "https://"); test.want != "" && trustpolicy.IssuerOf(got) != want {
				t.Errorf("got issuer %q, want %q", trustpolicy.IssuerOf(got), want)
			}
		})
	}
}

var update = flag.Bool("update", false, "write the golden files")

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
