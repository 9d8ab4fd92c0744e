package issuer_test

import (
	"crypto"
	"net/http"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// TestDiscoverTakesDocumentsOfAnyType has an issuer that is as strict as the API
// server: each document has one type, and who asks for another is refused.
func TestDiscoverTakesDocumentsOfAnyType(t *testing.T) {
	p := publish(t, rsaKey.Public())
	documents, err := issuer.NewDocuments(p.URL, p.URL+"/openid/v1/jwks", []crypto.PublicKey{rsaKey.Public()})
	if err != nil {
		t.Fatal(err)
	}
	strict := func(mediaType string, document []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if accept := r.Header.Get("Accept"); accept != "" && accept != "*/*" && accept != mediaType {
				w.WriteHeader(http.StatusNotAcceptable)
				return
			}
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(document)
		}
	}
	p.discovery = strict("application/json", documents.Discovery)
	p.jwks = strict("application/jwk-set+json", documents.JWKS)
	if _, err := issuer.Discover(t.Context(), p.Client(), p.URL); err != nil {
		t.Error(err)
	}
}
