package provision_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

const eksIssuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"

func TestFindIssuer(t *testing.T) {
	for name, test := range map[string]struct {
		status     int
		body, want string
		fault      string
	}{
		"published": {200, `{"issuer":"https://oidc.example.com/prod","jwks_uri":"x"}`, issuer, ""},
		"forbidden": {403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`, "", "system:service-account-issuer-discovery"},
		"not found": {404, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`, "", "pass --issuer"},
		"empty":     {200, `{}`, "", "issuer is missing"},
		"not JSON":  {200, `<html>`, "", "invalid JSON"},
		"not a URL": {200, `{"issuer":"x"}`, "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/.well-known/openid-configuration" {
					t.Errorf("got request for %s", r.URL.Path)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			got, err := provision.FindIssuer(t.Context(), client.Discovery().RESTClient())
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("got %v, want %s", err, test.fault)
			}
		})
	}
}

func TestIssuerWarnings(t *testing.T) {
	for name, test := range map[string]struct{ issuer, want string }{
		"EKS":                        {eksIssuer, ""},
		"bucket":                     {"https://s3.eu-west-1.amazonaws.com/my-issuer", ""},
		"http":                       {"http://oidc.example.com", "does not begin with https://"},
		"slash at the end":           {"https://oidc.example.com/", "ends with a slash"},
		"port":                       {"https://oidc.example.com:8443", "has a port"},
		"query":                      {"https://oidc.example.com?x=y", "has a query"},
		"fragment":                   {"https://oidc.example.com#x", "has a query or a fragment"},
		"256 characters":             {"https://oidc.example.com/" + strings.Repeat("a", 256-25), "longer than 255"},
		"255 characters":             {"https://oidc.example.com/" + strings.Repeat("a", 255-25), ""},
		"default of kubeadm":         {"https://kubernetes.default.svc.cluster.local", "private networks"},
		"name without a dot":         {"https://kubernetes", "private networks"},
		"name of a Service":          {"https://kubernetes.default.svc", "private networks"},
		"private address":            {"https://10.0.0.1", "private networks"},
		"loopback":                   {"https://[::1]", "private networks"},
		"public address":             {"https://192.0.2.1", ""},
		"dot at the end of the host": {"https://api.cluster.internal.", "private networks"},
		"not a URL":                  {"https://a b", "is not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			got := provision.IssuerWarnings(test.issuer)
			if test.want == "" {
				if len(got) != 0 {
					t.Errorf("got %q, want no warning", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("got %q, want %s", got, test.want)
			}
		})
	}
}

func TestClusterName(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://oidc.example.com/prod":                "prod",
		"https://oidc.example.com/prod/":               "prod",
		"https://prod.example.com":                     "prod",
		"https://prod.example.com/":                    "prod",
		"https://my-bucket.s3.eu-west-1.amazonaws.com": "my-bucket",
		eksIssuer:                              "EXAMPLED539D4633E53DE1B71EXAMPLE",
		"https://127.0.0.1:6443":               "127-0-0-1",
		"https://oidc.example.com/k8s/prod.v2": "prod-v2",
	} {
		if got := provision.ClusterName(issuer); got != want {
			t.Errorf("%s: got %q, want %q", issuer, got, want)
		}
	}
}

func TestCheckIssuer_invalid(t *testing.T) {
	for _, issuer := range []string{"", "oidc.example.com", "ftp://oidc.example.com", "https://", "https://a b"} {
		if err := provision.CheckIssuer(issuer); err == nil {
			t.Errorf("CheckIssuer(%q): got no error", issuer)
		}
	}
}
