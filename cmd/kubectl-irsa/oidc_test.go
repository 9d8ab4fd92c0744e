package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// oidcBench is an API server with one key, and a public issuer.
type oidcBench struct {
	api, public *httptest.Server
	// issuer and jwksURI are in the discovery document of the API server.
	issuer, jwksURI string
	// signer is the key that signs tokens, and tokenIssuer is their issuer.
	signer      *ecdsa.PrivateKey
	tokenIssuer string
	// published are the files with the keys that the public issuer publishes.
	published []string
	header    http.Header
	// denied are paths for which the API server responds with HTTP 403.
	denied []string
}

// fixedKey is the private key of testdata/old.pub (1) or new.pub (2).
func fixedKey(number byte) *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{number}, 32))
	if err != nil {
		panic(err)
	}
	return key
}

func newOIDCBench(t *testing.T) *oidcBench {
	t.Helper()
	b := &oidcBench{issuer: "https://oidc.example.com/prod", signer: fixedKey(1), published: []string{"testdata/old.pub"}}
	b.jwksURI = b.issuer + issuer.JWKSPath
	b.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serveAPI(t, w, r) }))
	b.public = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serveIssuer(t, w, r) }))
	t.Cleanup(b.api.Close)
	t.Cleanup(b.public.Close)
	t.Setenv("KUBECONFIG", os.DevNull)
	return b
}

func documentsOf(t *testing.T, issuerURL, jwksURI string, files ...string) issuer.Documents {
	t.Helper()
	source := &oidcSource{publicKeys: files}
	keys, err := source.readFiles()
	if err != nil {
		t.Error(err)
		return issuer.Documents{}
	}
	documents, err := issuer.DocumentsOf(issuerURL, jwksURI, keySet(keys))
	if err != nil {
		t.Error(err)
	}
	return documents
}

func (b *oidcBench) serveAPI(t *testing.T, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if slices.Contains(b.denied, r.URL.Path) {
		w.WriteHeader(http.StatusForbidden)
		respond(t, w, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden,
			Code: http.StatusForbidden, Message: "it is forbidden",
		})
		return
	}
	documents := documentsOf(t, b.issuer, b.jwksURI, "testdata/old.pub")
	switch r.URL.Path {
	case issuer.DiscoveryPath:
		fmt.Fprintf(w, "%s", documents.Discovery)
	case issuer.JWKSPath:
		fmt.Fprintf(w, "%s", documents.JWKS)
	case "/api/v1/namespaces/default/serviceaccounts/default/token":
		respond(t, w, authenticationv1.TokenRequest{
			TypeMeta: metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"},
			Status:   authenticationv1.TokenRequestStatus{Token: b.token(t)},
		})
	default:
		t.Errorf("got request for %s of the API server", r.URL.Path)
		http.NotFound(w, r)
	}
}

func respond(t *testing.T, w io.Writer, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		t.Error(err)
	}
}

func (b *oidcBench) token(t *testing.T) string {
	id, err := issuer.KeyID(b.signer.Public())
	if err != nil {
		t.Error(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: b.signer, KeyID: id}}, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	tokenIssuer := b.tokenIssuer
	if tokenIssuer == "" {
		tokenIssuer = b.issuer
	}
	signed, err := signer.Sign(fmt.Appendf(nil, `{"iss": %q}`, tokenIssuer))
	if err != nil {
		t.Error(err)
		return ""
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return raw
}

func (b *oidcBench) serveIssuer(t *testing.T, w http.ResponseWriter, r *http.Request) {
	documents := documentsOf(t, b.public.URL, b.public.URL+issuer.JWKSPath, b.published...)
	switch r.URL.Path {
	case issuer.DiscoveryPath:
		fmt.Fprintf(w, "%s", documents.Discovery)
	case issuer.JWKSPath:
		maps.Copy(w.Header(), b.header)
		fmt.Fprintf(w, "%s", documents.JWKS)
	default:
		http.NotFound(w, r)
	}
}

// caFile returns a file with the certificate of the public issuer.
func (b *oidcBench) caFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.public.Certificate().Raw})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command line and returns its output. The placeholders DIRECTORY, ISSUER (the
// public issuer) and CA stand for values that differ in each run.
func (b *oidcBench) run(t *testing.T, directory, line string) string {
	t.Helper()
	real := strings.NewReplacer("DIRECTORY", directory, "ISSUER", b.public.URL, "CA", b.caFile(t))
	var stdout, stderr bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}
	args := append(strings.Fields(real.Replace(line)), "--server="+b.api.URL)
	code := execute(t.Context(), newRootCommand(streams), args, streams)
	output := strings.NewReplacer(directory, "DIRECTORY", b.public.URL, "ISSUER").Replace(stdout.String() + stderr.String())
	if token := b.token(t); strings.Contains(output, strings.Split(token, ".")[1]) {
		t.Errorf("got a token in the output: %s", output)
	}
	return fmt.Sprintf("$ kubectl irsa %s\n%s[exit code %d]\n", line, output, code)
}

func TestOIDC_output(t *testing.T) {
	toPublic := func(b *oidcBench) { b.issuer = b.public.URL; b.jwksURI = b.public.URL + issuer.JWKSPath }
	const rotateCheck = "oidc rotate-check --issuer-ca-file CA"
	for name, test := range map[string]struct {
		prepare func(*oidcBench)
		lines   []string
	}{
		"oidc documents public key": {lines: []string{
			"oidc documents --public-key testdata/old.pub --public-key testdata/new.pub --issuer https://oidc.example.com/prod",
			"oidc documents --public-key testdata/old.pub --issuer https://oidc.example.com/prod --jwks-uri https://oidc.example.com/prod/keys.json -d DIRECTORY",
			"oidc documents --public-key testdata/old.pub --issuer https://oidc.example.com/prod --jwks-uri https://keys.example.com/prod -d DIRECTORY",
			"oidc documents --public-key testdata/old.pub --issuer https://oidc.example.com:8443/prod/ -d DIRECTORY/other --dry-run",
		}},
		"oidc documents cluster": {lines: []string{
			"oidc documents", "oidc documents --with-cluster --public-key testdata/new.pub --public-key testdata/old.pub -d DIRECTORY",
			"oidc documents --issuer https://another.example.com -d DIRECTORY",
		}},
		"oidc documents cluster private address": {
			prepare: func(b *oidcBench) { b.jwksURI = "https://10.0.0.1:6443/openid/v1/jwks" }, lines: []string{"oidc documents -d DIRECTORY"},
		},
		"oidc documents as json and yaml": {lines: []string{"oidc documents -o json", "oidc documents -o yaml -d DIRECTORY"}},
		"oidc documents invalid flags": {lines: []string{
			"oidc documents --public-key testdata/old.pub", "oidc documents --public-key testdata/none.pub --issuer https://oidc.example.com",
			"oidc documents --public-key oidc.go --issuer https://oidc.example.com", "oidc documents --public-key testdata/old.pub --issuer http://oidc.example.com",
			"oidc documents --public-key testdata/old.pub --issuer https://oidc.example.com --jwks-uri https://oidc.example.com/../keys", "oidc documents now",
		}},
		"oidc documents forbidden": {
			prepare: func(b *oidcBench) { b.denied = []string{issuer.DiscoveryPath} }, lines: []string{"oidc documents"},
		},
		"oidc rotate check next key": {prepare: toPublic, lines: []string{
			rotateCheck + " --public-key testdata/new.pub --issuer ISSUER", rotateCheck + " --public-key testdata/old.pub",
			rotateCheck + " --with-cluster --public-key testdata/new.pub",
		}},
		"oidc rotate check cluster": {prepare: toPublic, lines: []string{rotateCheck, rotateCheck + " -o json", rotateCheck + " -o yaml"}},
		"oidc rotate check signing key unpublished": {
			prepare: func(b *oidcBench) { toPublic(b); b.published = []string{"testdata/new.pub"} }, lines: []string{rotateCheck},
		},
		"oidc rotate check stale cache": {
			prepare: func(b *oidcBench) {
				toPublic(b)
				b.header = http.Header{"Age": {"100"}, "Cache-Control": {"max-age=300"}}
			}, lines: []string{rotateCheck + " --public-key testdata/new.pub"},
		},
		"oidc rotate check cache not expired": {
			prepare: func(b *oidcBench) {
				toPublic(b)
				b.header = http.Header{"Last-Modified": {time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat)}, "Cache-Control": {"max-age=300"}}
			}, lines: []string{rotateCheck, rotateCheck + " --public-key testdata/old.pub"},
		},
		"oidc rotate check other issuer": {
			prepare: func(b *oidcBench) { toPublic(b); b.tokenIssuer = "https://kubernetes.default.svc" }, lines: []string{rotateCheck},
		},
		"oidc rotate check signing key not in jwks": {
			prepare: func(b *oidcBench) { toPublic(b); b.signer = fixedKey(2) }, lines: []string{rotateCheck},
		},
		"oidc rotate check forbidden": {
			prepare: func(b *oidcBench) {
				toPublic(b)
				b.denied = []string{issuer.DiscoveryPath, "/api/v1/namespaces/default/serviceaccounts/default/token"}
			}, lines: []string{rotateCheck, rotateCheck + " --issuer ISSUER"},
		},
		"oidc rotate check keys forbidden": {
			prepare: func(b *oidcBench) { toPublic(b); b.denied = []string{issuer.JWKSPath} }, lines: []string{rotateCheck},
		},
		"oidc rotate check unknown ca": {prepare: toPublic, lines: []string{"oidc rotate-check"}},
		"oidc rotate check invalid flags": {lines: []string{
			"oidc rotate-check --ip-family 5", "oidc rotate-check --issuer-ca-file testdata/none", "oidc rotate-check --issuer-ca-file testdata/old.pub",
		}},
		"oidc serve invalid flags": {lines: []string{
			"oidc serve --refresh-interval 1ms", "oidc serve --tls-cert x", "oidc serve --tls-cert x --tls-key y", "oidc serve --address nowhere", "oidc serve --dry-run",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b, directory := newOIDCBench(t), t.TempDir()
			if test.prepare != nil {
				test.prepare(b)
			}
			var output strings.Builder
			for _, line := range test.lines {
				fmt.Fprintln(&output, b.run(t, directory, line))
			}
			golden(t, name, output.String())
		})
	}
}

// served is a running oidc serve.
type served struct {
	url    string
	client *http.Client
	cancel context.CancelFunc
	exited chan int
	stderr *bytes.Buffer
}

// serving starts oidc serve, and returns when it has printed its address.
func serving(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	s := &served{client: &http.Client{Timeout: 10 * time.Second}, cancel: cancel, exited: make(chan int, 1), stderr: &bytes.Buffer{}}
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: writer, ErrOut: s.stderr}
	args = append([]string{"oidc", "serve", "--address=127.0.0.1:0", "-o=json"}, args...)
	go func() {
		code := execute(ctx, newRootCommand(streams), args, streams)
		_ = writer.Close()
		s.exited <- code
	}()
	t.Cleanup(cancel)
	var report struct {
		Address string `json:"address"`
	}
	if err := json.NewDecoder(reader).Decode(&report); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	s.url = report.Address
	return s
}

func (s *served) get(t *testing.T, path string) string {
	t.Helper()
	response, err := s.client.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, response.Status, err)
	}
	return string(body)
}

func (s *served) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	select {
	case code := <-s.exited:
		if code != exitOK {
			t.Errorf("got exit code %d, want 0: %s", code, s.stderr)
		}
	case <-time.After(20 * time.Second):
		t.Error("oidc serve did not stop within 20s")
	}
}

func TestOIDCServe_shutdown(t *testing.T) {
	s := serving(t, "--public-key=testdata/old.pub", "--issuer=https://oidc.example.com/prod")
	want := documentsOf(t, "https://oidc.example.com/prod", "https://oidc.example.com/prod"+issuer.JWKSPath, "testdata/old.pub")
	if got := s.get(t, "/prod"+issuer.DiscoveryPath); got != string(want.Discovery) {
		t.Errorf("got %s, want %s", got, want.Discovery)
	}
	if got := s.get(t, "/prod"+issuer.JWKSPath); got != string(want.JWKS) {
		t.Errorf("got %s, want %s", got, want.JWKS)
	}
	s.stop(t)
	if response, err := s.client.Get(s.url + "/healthz"); err == nil {
		response.Body.Close()
		t.Error("got a response after shutdown")
	}
}

func TestOIDCServe_reloadsKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sa.pub")
	replace := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file+".tmp", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			t.Fatal(err)
		}
	}
	content := func(name string) []byte {
		t.Helper()
		read, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	replace(content("old.pub"))
	s := serving(t, "--public-key="+file, "--issuer=https://oidc.example.com", "--refresh-interval=1s")
	before := s.get(t, issuer.JWKSPath)
	replace([]byte("nonsense"))
	replace(content("new.pub"))
	want := string(documentsOf(t, "https://oidc.example.com", "https://oidc.example.com"+issuer.JWKSPath, "testdata/new.pub").JWKS)
	deadline := time.Now().Add(30 * time.Second)
	for got := before; got != want; got = s.get(t, issuer.JWKSPath) {
		if got != before {
			t.Fatalf("got key set %s, want the old or the new one", got)
		}
		if time.Now().After(deadline) {
			t.Fatal("the new key was not served within 30s")
		}
	}
	s.stop(t)
}

func TestOIDCServe_tls(t *testing.T) {
	b := newOIDCBench(t)
	certificate := b.caFile(t)
	der, err := x509.MarshalPKCS8PrivateKey(b.public.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "tls.key")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(b.public.Certificate())
	s := serving(t, "--public-key=testdata/old.pub", "--issuer=https://oidc.example.com", "--tls-cert="+certificate, "--tls-key="+key)
	s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	if parsed, err := url.Parse(s.url); err != nil || parsed.Scheme != "https" {
		t.Errorf("got address %s, want https", s.url)
	}
	if got := s.get(t, "/healthz"); got != "ok\n" {
		t.Errorf("got %q", got)
	}
	s.stop(t)
}

func TestShellWord(t *testing.T) {
	for value, want := range map[string]string{
		"site/openid": "site/openid", "my site": "'my site'", "$(id)": "'$(id)'", "it's": `'it'\''s'`, "": "''",
	} {
		if got := shellWord(value); got != want {
			t.Errorf("got %s for %q, want %s", got, value, want)
		}
	}
}
