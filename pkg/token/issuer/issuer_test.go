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

// The keys of the tests. The ECDSA keys are fixed because the workers of a fuzz test are
// separate processes. Each must accept the tokens in the corpus of the others.
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
	// discovery and jwks, if set, serve the paths of the documents instead.
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
			w.WriteHeader(http.StatusNotAcceptable) // as API servers do
		case r.URL.Path == "/openid/v1/jwks" && p.jwks != nil:
			p.jwks(w, r)
		case r.URL.Path == "/openid/v1/jwks":
			fmt.Fprintf(w, "%s", documents.JWKS)
		default:
			http.NotFound(w, r)
		}
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // some tests cause handshake errors
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// respondWith returns a handler that responds with text.
func respondWith(text string) http.HandlerFunc {
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
			t.Errorf("key %s is missing in %v", id, got.Keys)
		}
	}
}

func TestDiscover_errors(t *testing.T) {
	teapot := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
	for name, test := range map[string]struct {
		discovery, jwks http.HandlerFunc
		step            issuer.Step
		want            string
	}{
		"discovery document not found":     {discovery: http.NotFound, step: issuer.StepDiscovery, want: "404 Not Found"},
		"discovery document is a web page": {discovery: respondWith("<html>"), step: issuer.StepDiscovery, want: "invalid JSON"},
		"discovery document too large":     {discovery: respondWith(strings.Repeat(" ", 1<<20) + "{}"), step: issuer.StepDiscovery, want: "larger than 1048576 bytes"},
		"discovery document of another issuer": {
			discovery: respondWith(`{"issuer": "https://oidc.example.com", "jwks_uri": "https://oidc.example.com/keys.json"}`),
			step:      issuer.StepDiscovery, want: `issuer is "https://oidc.example.com", want `,
		},
		"discovery document without a JWKS URI": {discovery: respondWith(`{"issuer": "ISSUER"}`), step: issuer.StepDiscovery, want: "jwks_uri is missing"},
		"JWKS URI without TLS": {
			discovery: respondWith(`{"issuer": "ISSUER", "jwks_uri": "http://user:hunter2@oidc.example.com/keys"}`),
			step:      issuer.StepDiscovery, want: "must start with https://",
		},
		"key set not available":      {jwks: teapot, step: issuer.StepKeySet, want: "418"},
		"key set is not JSON":        {jwks: respondWith("keys"), step: issuer.StepKeySet, want: "invalid JSON"},
		"no keys":                    {jwks: respondWith(`{"keys": []}`), step: issuer.StepKeySet, want: "no public RSA or ECDSA key"},
		"only keys of unknown types": {jwks: respondWith(`{"keys": [{"kty": "XYZ", "kid": "x"}]}`), step: issuer.StepKeySet, want: "no public RSA or ECDSA key"},
		"private key in the key set": {jwks: respondWith(`{"keys": [` + string(must(json.Marshal(jose.JSONWebKey{Key: otherKey}))) + `]}`), step: issuer.StepKeySet, want: "key 1 is private"},
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
			documentURL := p.URL + issuer.DiscoveryPath
			if test.step == issuer.StepKeySet {
				documentURL = p.URL + "/openid/v1/jwks"
			}
			if failure.Step != test.step || failure.URL != documentURL {
				t.Errorf("got %s at %s; want %s at %s", failure.Step, failure.URL, test.step, documentURL)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q contains a password", err)
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
	received := make(chan struct{})
	p.discovery = func(_ http.ResponseWriter, r *http.Request) {
		close(received)
		<-r.Context().Done()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-received
		cancel()
	}()
	if _, err := issuer.Discover(ctx, p.Client(), p.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestDiscover_ignoresUnsupportedKeys(t *testing.T) {
	p := publish(t, ecKey.Public())
	unsupported := `{"kty": "OKP", "crv": "X448", "x": "AA", "kid": "x"}, {"kty": "AKP", "kid": "y"}`
	encryption := string(must(json.Marshal(jose.JSONWebKey{Key: otherKey.Public(), KeyID: "z", Use: "enc"})))
	supported := string(must(json.Marshal(jose.JSONWebKey{Key: ecKey.Public(), KeyID: "supported"})))
	p.jwks = respondWith(`{"keys": [` + unsupported + `, ` + encryption + `, ` + supported + `]}`)
	got, err := issuer.Discover(t.Context(), p.Client(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Keys.Keys) != 1 || got.Keys.Keys[0].KeyID != "supported" {
		t.Errorf("got %v", got.Keys)
	}
}

func TestDiscover_trailingSlash(t *testing.T) {
	p := publish(t, ecKey.Public())
	p.discovery = func(w http.ResponseWriter, r *http.Request) {
		respondWith(`{"issuer": "`+p.URL+`/", "jwks_uri": "`+p.URL+`/openid/v1/jwks"}`)(w, r)
	}
	if got, err := issuer.Discover(t.Context(), p.Client(), p.URL+"/"); err != nil || got.URL != p.URL+"/" {
		t.Errorf("got %v, %v", got.URL, err)
	}
	if _, err := issuer.Discover(t.Context(), p.Client(), p.URL); err == nil {
		t.Error("got no error for the issuer without the slash")
	}
}

// at is the time at which the tokens of the tests were signed.
var at = time.Unix(1700000000, 0)

func TestDiscover_rejectsHTTPRedirect(t *testing.T) {
	p := publish(t, ecKey.Public())
	// An attacker on the network could serve these.
	attackers := must(issuer.NewDocuments(p.URL, p.URL+"/openid/v1/jwks", []crypto.PublicKey{otherKey.Public()}))
	plain := httptest.NewServer(respondWith(string(attackers.JWKS)))
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
		t.Error("got no error for a redirect loop")
	}
}
