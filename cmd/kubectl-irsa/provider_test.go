package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// provider create and show trust the CA of --issuer-ca-file when they read the issuer.
func TestIssuerReader(t *testing.T) {
	var url string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		documents := documentsOf(t, url, url+issuer.JWKSPath, "testdata/old.pub")
		switch r.URL.Path {
		case issuer.DiscoveryPath:
			fmt.Fprintf(w, "%s", documents.Discovery)
		case issuer.JWKSPath:
			fmt.Fprintf(w, "%s", documents.JWKS)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	url = server.URL
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ caFile, want string }{
		"with the CA":    {caFile, ""},
		"without the CA": {"", "certificate"},
	} {
		read, err := issuerReader(test.caFile)
		if err != nil {
			t.Fatal(err)
		}
		err = read(t.Context(), url)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	for _, invalid := range []string{"testdata/none", "testdata/old.pub"} {
		if _, err := issuerReader(invalid); err == nil || !strings.Contains(err.Error(), "--issuer-ca-file") {
			t.Errorf("%s: got %v, want an error with the flag", invalid, err)
		}
	}
	for _, command := range []string{"create", "show"} {
		b := newBench()
		if output := b.run(t, "provider "+command+" --issuer-ca-file "+caFile); strings.Contains(output, "unknown flag") {
			t.Errorf("provider %s: got %s", command, output)
		}
	}
}
