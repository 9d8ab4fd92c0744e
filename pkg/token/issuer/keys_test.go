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
		"PKIX, RSA":         {pkixBlock(rsaKey.Public()), []crypto.PublicKey{rsaKey.Public()}},
		"PKIX, ECDSA":       {pkixBlock(ecKey.Public()), []crypto.PublicKey{ecKey.Public()}},
		"PKCS #1":           {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), []crypto.PublicKey{rsaKey.Public()}},
		"a certificate":     {certificateBlock(ecKey), []crypto.PublicKey{ecKey.Public()}},
		"several, in order": {bytes.Join([][]byte{pkixBlock(ecKey.Public()), pkixBlock(rsaKey.Public())}, []byte("a comment\n")), []crypto.PublicKey{ecKey.Public(), rsaKey.Public()}},
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
					t.Errorf("key %d is another", i)
				}
			}
		})
	}
}

func TestParsePublicKeys_invalid(t *testing.T) {
	public := pkixBlock(ecKey.Public())
	for name, test := range map[string]struct {
		file []byte
		says string
	}{
		"an empty file":          {nil, "no PEM block"},
		"a key that is not PEM":  {must(x509.MarshalPKIXPublicKey(ecKey.Public())), "no PEM block"},
		"a private key, PKCS #8": {block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey))), "it is private"},
		"a private key, PKCS #1": {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "it is private"},
		"a private key with its parameters before it": {
			append(block("EC PARAMETERS", []byte{6}), block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))...), "it is private",
		},
		"an encrypted private key":                   {block("ENCRYPTED PRIVATE KEY", []byte{1}), "it is private"},
		"a private key after a public one":           {append(bytes.Clone(public), block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey)))...), "PEM block 2"},
		"a request for a certificate":                {block("CERTIFICATE REQUEST", []byte{1}), "it is no public key"},
		"a key that is nonsense":                     {block("PUBLIC KEY", []byte("nonsense")), "PEM block 1"},
		"a key that Kubernetes does not sign with":   {pkixBlock(must2(ed25519.GenerateKey(rand.Reader)).Public()), "does not sign with a ed25519.PublicKey"},
		"a curve that Kubernetes does not sign with": {pkixBlock(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).Public()), "P-224"},
		// Left out silently, tokens of this key would be refused after a rotation.
		"a second key that is cut off": {append(bytes.Clone(public), public[:len(public)-10]...), "cut off"},
		"a first key that is cut off":  {append(bytes.Clone(public[:len(public)/2]), public...), "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := issuer.ParsePublicKeys(test.file)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, %v; want an error that says %q", got, err, test.says)
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
		// What is read can be published, and is then what was read.
		documents, err := issuer.NewDocuments(issuerURL, issuerURL+"/keys.json", keys)
		if err != nil {
			t.Fatalf("%q was read and cannot be published: %v", file, err)
		}
		set, err := issuer.ParseKeySet(documents.JWKS)
		if err != nil {
			t.Fatalf("%s cannot be read: %v", documents.JWKS, err)
		}
		for _, key := range keys {
			if id, err := issuer.KeyID(key); err != nil || len(set.Key(id)) != 1 {
				t.Errorf("the key %s is not published once in %s: %v", id, documents.JWKS, err)
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
				t.Errorf("%s has a key that is good for nothing: %v", document, key)
			}
		}
	})
}
