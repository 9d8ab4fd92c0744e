package issuer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkixBlock(key crypto.PublicKey) []byte {
	return block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key)))
}

func certificateBlock(key crypto.Signer) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	return block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))
}

func TestParsePublicKeys(t *testing.T) {
	for name, test := range map[string]struct {
		file []byte
		want []crypto.PublicKey
	}{
		"PKIX, RSA":    {pkixBlock(rsaKey.Public()), []crypto.PublicKey{rsaKey.Public()}},
		"PKIX, ECDSA":  {pkixBlock(ecKey.Public()), []crypto.PublicKey{ecKey.Public()}},
		"PKCS #1":      {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), []crypto.PublicKey{rsaKey.Public()}},
		"certificate":  {certificateBlock(ecKey), []crypto.PublicKey{ecKey.Public()}},
		"several keys": {bytes.Join([][]byte{pkixBlock(ecKey.Public()), pkixBlock(rsaKey.Public())}, []byte("a comment\n")), []crypto.PublicKey{ecKey.Public(), rsaKey.Public()}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := issuer.ParsePublicKeys(test.file)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %d keys, want %d", len(got), len(test.want))
			}
			for i, want := range test.want {
				if !want.(interface{ Equal(crypto.PublicKey) bool }).Equal(got[i]) {
					t.Errorf("key %d: got another key", i)
				}
			}
		})
	}
}

func TestParsePublicKeys_invalid(t *testing.T) {
	public := pkixBlock(ecKey.Public())
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"empty file":           {nil, "no PEM block"},
		"not PEM":              {must(x509.MarshalPKIXPublicKey(ecKey.Public())), "no PEM block"},
		"private key, PKCS #8": {block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey))), "private key; use the public key"},
		"private key, PKCS #1": {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "private key; use the public key"},
		"private key after its parameters": {
			append(block("EC PARAMETERS", []byte{6}), block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))...), "private key; use the public key",
		},
		"encrypted private key":          {block("ENCRYPTED PRIVATE KEY", []byte{1}), "private key; use the public key"},
		"private key after a public key": {append(bytes.Clone(public), block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey)))...), "PEM block 2"},
		"certificate request":            {block("CERTIFICATE REQUEST", []byte{1}), "not a public key"},
		"invalid key":                    {block("PUBLIC KEY", []byte("invalid")), "PEM block 1"},
		"unsupported type of key":        {pkixBlock(must2(ed25519.GenerateKey(rand.Reader)).Public()), "do not sign with a ed25519.PublicKey"},
		"unsupported curve":              {pkixBlock(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).Public()), "P-224"},
		// If the key was ignored, AWS would reject its tokens after a rotation.
		"second key truncated": {append(bytes.Clone(public), public[:len(public)-10]...), "truncated"},
		"first key truncated":  {append(bytes.Clone(public[:len(public)/2]), public...), "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := issuer.ParsePublicKeys(test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}

func must2(_ ed25519.PublicKey, key ed25519.PrivateKey, err error) ed25519.PrivateKey {
	return must(key, err)
}

func FuzzParsePublicKeys(f *testing.F) {
	f.Add(pkixBlock(rsaKey.Public()))
	f.Add(pkixBlock(ecKey.Public()))
	f.Add(certificateBlock(ecKey))
	f.Add(block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)))
	f.Add(append(pkixBlock(ecKey.Public()), pkixBlock(rsaKey.Public())...))
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := issuer.ParsePublicKeys(file)
		if err != nil {
			return
		}
		// All parsed keys can be published, and the key set contains each of them once.
		documents, err := issuer.NewDocuments(issuerURL, issuerURL+"/keys.json", keys)
		if err != nil {
			t.Fatalf("cannot publish the keys in %q: %v", file, err)
		}
		set, err := issuer.ParseKeySet(documents.JWKS)
		if err != nil {
			t.Fatalf("cannot parse %s: %v", documents.JWKS, err)
		}
		for _, key := range keys {
			if id, err := issuer.KeyID(key); err != nil || len(set.Key(id)) != 1 {
				t.Errorf("key %s is not published once in %s: %v", id, documents.JWKS, err)
			}
		}
	})
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(must(issuer.NewDocuments(issuerURL, issuerURL, []crypto.PublicKey{rsaKey.Public(), ecKey.Public()})).JWKS)
	f.Add([]byte(`{"keys": [null, {"kty": "oct", "k": "AA"}, {"kty": "OKP", "crv": "Ed25519"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := issuer.ParseKeySet(document)
		if err != nil {
			return
		}
		for _, key := range set.Keys {
			if !key.Valid() || !key.IsPublic() {
				t.Errorf("%s: got invalid or private key %v", document, key)
			}
		}
	})
}
