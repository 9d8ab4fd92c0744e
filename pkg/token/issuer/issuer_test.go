package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// keys of the tests. Those of ECDSA are fixed ones: each worker of a fuzz target is a
// process of its own, to which a token of another's key would be nothing but foreign.
var (
	rsaKey   = must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey    = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32)))
	otherKey = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{2}, 32)))
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// published serves documents over TLS, as an issuer does.
type published struct {
	*httptest.Server
	// discovery and jwks answer in place of the documents, where they are set.
	discovery, jwks http.HandlerFunc
}

func publish(t testing.TB, keys ...crypto.PublicKey) *published {
	t.Helper()
	p := &published{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		documents, err := issuer.NewDocuments(p.URL, p.URL+"/openid/v1/jwks", keys)
		switch {
		case err != nil:
			t.Error(err)
		case r.URL.Path == issuer.DiscoveryPath && p.discovery != nil:
			p.discovery(w, r)
		case r.URL.Path == issuer.DiscoveryPath:
			fmt.Fprintf(w, "%s", documents.Discovery)
		case !strings.Contains(r.Header.Get("Accept"), "application/jwk-set+json"):
			w.WriteHeader(http.StatusNotAcceptable) // as API servers answer
		case r.URL.Path == "/openid/v1/jwks" && p.jwks != nil:
			p.jwks(w, r)
		case r.URL.Path == "/openid/v1/jwks":
			fmt.Fprintf(w, "%s", documents.JWKS)
		default:
			http.NotFound(w, r)
		}
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func TestDiscover(t *testing.T) {
	p := publish(t, rsaKey.Public(), ecKey.Public())
	got, err := issuer.Discover(t.Context(), p.Client(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got.URL != p.URL || got.JWKSURI != p.URL+"/openid/v1/jwks" {
		t.Errorf("got %s with keys at %s", got.URL, got.JWKSURI)
	}
	for _, key := range []crypto.PublicKey{rsaKey.Public(), ecKey.Public()} {
		id := must(issuer.KeyID(key))
		if found := got.Keys.Key(id); len(found) != 1 || !found[0].Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(key) {
			t.Errorf("the key %s is not among %v", id, got.Keys)
		}
	}
}

func TestDiscover_errors(t *testing.T) {
	teapot := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
	for name, test := range map[string]struct {
		discovery, jwks http.HandlerFunc
		step            issuer.Step
		says            string
	}{
		"a discovery document that the server does not have": {discovery: http.NotFound, step: issuer.StepDiscovery, says: "404 Not Found"},
		"a discovery document that is a web page":            {discovery: says("<html>"), step: issuer.StepDiscovery, says: "not JSON"},
		"a discovery document that has no end":               {discovery: says(strings.Repeat(" ", 1<<20) + "{}"), step: issuer.StepDiscovery, says: "larger than 1048576 bytes"},
		"a discovery document of another issuer": {
			discovery: says(`{"issuer": "https://oidc.example.com", "jwks_uri": "https://oidc.example.com/keys.json"}`),
			step:      issuer.StepDiscovery, says: `it is of the issuer "https://oidc.example.com", not of `,
		},
		"a discovery document without a JWKS URI": {discovery: says(`{"issuer": "ISSUER"}`), step: issuer.StepDiscovery, says: "no jwks_uri"},
		"keys that would be read in the clear": {
			discovery: says(`{"issuer": "ISSUER", "jwks_uri": "http://user:hunter2@oidc.example.com/keys"}`),
			step:      issuer.StepDiscovery, says: "has to begin with https://",
		},
		"keys that the server does not give":   {jwks: teapot, step: issuer.StepKeySet, says: "418"},
		"keys that are no JSON":                {jwks: says("keys"), step: issuer.StepKeySet, says: "not JSON"},
		"no keys":                              {jwks: says(`{"keys": []}`), step: issuer.StepKeySet, says: "it has no public key"},
		"none but keys of a kind unknown here": {jwks: says(`{"keys": [{"kty": "XYZ", "kid": "x"}]}`), step: issuer.StepKeySet, says: "it has no public key"},
		"a private key among the keys":         {jwks: says(`{"keys": [` + string(must(json.Marshal(jose.JSONWebKey{Key: otherKey}))) + `]}`), step: issuer.StepKeySet, says: "key 1 is private"},
	} {
		t.Run(name, func(t *testing.T) {
			p := publish(t, ecKey.Public())
			if test.discovery != nil {
				p.discovery = func(w http.ResponseWriter, r *http.Request) {
					recorded := httptest.NewRecorder()
					test.discovery(recorded, r)
					w.WriteHeader(recorded.Code)
					fmt.Fprint(w, strings.ReplaceAll(recorded.Body.String(), "ISSUER", p.URL))
				}
			}
			p.jwks = test.jwks
			_, err := issuer.Discover(t.Context(), p.Client(), p.URL)
			failure, ok := errors.AsType[*issuer.DiscoveryError](err)
			if !ok {
				t.Fatalf("got %v, want a DiscoveryError", err)
			}
			at := p.URL + issuer.DiscoveryPath
			if test.step == issuer.StepKeySet {
				at = p.URL + "/openid/v1/jwks"
			}
			if failure.Step != test.step || failure.URL != at {
				t.Errorf("it failed at the %s, %s; want the %s, %s", failure.Step, failure.URL, test.step, at)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %q, which does not say %q", err, test.says)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q tells a password", err)
			}
		})
	}
}

func TestDiscover_untrustedCertificate(t *testing.T) {
	p := publish(t, ecKey.Public())
	_, err := issuer.Discover(t.Context(), nil, p.URL)
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want an error about the certificate", err)
	}
}

func TestDiscover_contextCanceled(t *testing.T) {
	p := publish(t, ecKey.Public())
	asked := make(chan struct{})
	p.discovery = func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := issuer.Discover(ctx, p.Client(), p.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestDiscover_ignoresUnsupportedKeys(t *testing.T) {
	p := publish(t, ecKey.Public())
	foreign := `{"kty": "OKP", "crv": "X448", "x": "AA", "kid": "x"}, {"kty": "AKP", "kid": "y"}`
	encryption := string(must(json.Marshal(jose.JSONWebKey{Key: otherKey.Public(), KeyID: "z", Use: "enc"})))
	ours := string(must(json.Marshal(jose.JSONWebKey{Key: ecKey.Public(), KeyID: "ours"})))
	p.jwks = says(`{"keys": [` + foreign + `, ` + encryption + `, ` + ours + `]}`)
	got, err := issuer.Discover(t.Context(), p.Client(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Keys.Keys) != 1 || got.Keys.Keys[0].KeyID != "ours" {
		t.Errorf("got %v", got.Keys)
	}
}

func TestDiscover_trailingSlash(t *testing.T) {
	p := publish(t, ecKey.Public())
	p.discovery = func(w http.ResponseWriter, r *http.Request) {
		says(`{"issuer": "`+p.URL+`/", "jwks_uri": "`+p.URL+`/openid/v1/jwks"}`)(w, r)
	}
	if got, err := issuer.Discover(t.Context(), p.Client(), p.URL+"/"); err != nil || got.URL != p.URL+"/" {
		t.Errorf("got %v, %v", got.URL, err)
	}
	if _, err := issuer.Discover(t.Context(), p.Client(), p.URL); err == nil {
		t.Error("the issuer without the slash was taken for it")
	}
}

// at is when the tokens of the tests were signed.
var at = time.Unix(1700000000, 0)

func TestDiscover_rejectsHTTPRedirect(t *testing.T) {
	p := publish(t, ecKey.Public())
	// Whoever is between could serve these.
	foreign := must(issuer.NewDocuments(p.URL, p.URL+"/openid/v1/jwks", []crypto.PublicKey{otherKey.Public()}))
	plain := httptest.NewServer(says(string(foreign.JWKS)))
	t.Cleanup(plain.Close)
	p.jwks = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }
	got, err := issuer.Discover(t.Context(), p.Client(), p.URL)
	if failure, ok := errors.AsType[*issuer.DiscoveryError](err); !ok || failure.Step != issuer.StepKeySet || !strings.Contains(err.Error(), "https") {
		t.Errorf("got %+v, %v", got.Keys, err)
	}
}

func TestDiscover_followsHTTPSRedirect(t *testing.T) {
	p := publish(t, ecKey.Public())
	documents := must(issuer.NewDocuments(p.URL, p.URL+"/openid/v1/jwks", []crypto.PublicKey{ecKey.Public()}))
	p.jwks = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Redirect(w, r, r.URL.Path+"?moved", http.StatusFound)
			return
		}
		fmt.Fprintf(w, "%s", documents.JWKS)
	}
	if _, err := issuer.Discover(t.Context(), p.Client(), p.URL); err != nil {
		t.Error(err)
	}
	p.jwks = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	if _, err := issuer.Discover(t.Context(), p.Client(), p.URL); err == nil {
		t.Error("it goes in a circle")
	}
}
