package issuer_test

import (
	"crypto"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// sample is a fixed public key, the base point of P-256.
const sample = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`

func TestNewDocuments(t *testing.T) {
	keys := must(issuer.ParsePublicKeys([]byte(sample)))
	got, err := issuer.NewDocuments(issuerURL, issuerURL+"/openid/v1/jwks", append(keys, rsaKey.Public(), keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	const discovery = `{"issuer":"https://oidc.example.com/id","jwks_uri":"https://oidc.example.com/id/openid/v1/jwks",` +
		`"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256","RS256"]}`
	if string(got.Discovery) != discovery {
		t.Errorf("got  %s\nwant %s", got.Discovery, discovery)
	}
	const first = `{"keys":[{"use":"sig","kty":"EC","kid":"` + sampleID + `","crv":"P-256","alg":"ES256",` +
		`"x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},{`
	if !strings.HasPrefix(string(got.JWKS), first) {
		t.Errorf("got  %s\nwant %s...", got.JWKS, first)
	}
	if set := must(issuer.ParseKeySet(got.JWKS)); len(set.Keys) != 2 {
		t.Errorf("got %s, want each key once", got.JWKS)
	}
}

// sampleID is the SHA-256 of the key's DER form. Command:
// openssl pkey -pubin -in sample -outform DER | openssl dgst -sha256 -binary | basenc --base64url
const sampleID = "XNJS-wzokyQ2-vjM0QQJgbie5K1rn-niorfnGqyyfNM"

func TestDocumentsOf_externalKeyIDs(t *testing.T) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ecKey.Public(), KeyID: "kms-1", Use: "sig"}}}
	got, err := issuer.DocumentsOf(issuerURL, issuerURL+"/keys", set)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got.JWKS), `"kid":"kms-1"`) || !strings.Contains(string(got.JWKS), `"alg":"ES256"`) {
		t.Errorf("got %s", got.JWKS)
	}
}

func TestDocumentsOf_sameKeyID(t *testing.T) {
	for _, id := range []string{"kms-1", ""} {
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: ecKey.Public(), KeyID: id}, {Key: otherKey.Public(), KeyID: id}, {Key: rsaKey.Public(), KeyID: id}, {Key: ecKey.Public(), KeyID: id},
		}}
		got, err := issuer.DocumentsOf(issuerURL, issuerURL+"/keys", set)
		if err != nil {
			t.Fatal(err)
		}
		if published := must(issuer.ParseKeySet(got.JWKS)); len(published.Keys) != 3 {
			t.Errorf("got %[2]s, want three keys with the ID %[1]q", id, got.JWKS)
		}
	}
}

func TestNewDocuments_invalid(t *testing.T) {
	valid := []crypto.PublicKey{ecKey.Public()}
	for name, test := range map[string]struct {
		issuerURL, jwksURI string
		keys               []crypto.PublicKey
		want               string
	}{
		"no key":                  {issuerURL, issuerURL, nil, "no public key"},
		"private key":             {issuerURL, issuerURL, []crypto.PublicKey{ecKey}, "encode public key"},
		"issuer without a scheme": {"oidc.example.com", issuerURL, valid, `issuer "oidc.example.com": must start with https://`},
		"issuer without TLS":      {"http://oidc.example.com", issuerURL, valid, "https://"},
		"issuer without a host":   {"https:///id", issuerURL, valid, "no host"},
		"issuer with a query":     {issuerURL + "?a=b", issuerURL, valid, "must not have a user, query or fragment"},
		"JWKS URI without TLS":    {issuerURL, "http://oidc.example.com/keys", valid, "JWKS URI"},
		"relative JWKS URI":       {issuerURL, "keys.json", valid, "JWKS URI"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := issuer.NewDocuments(test.issuerURL, test.jwksURI, test.keys)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
