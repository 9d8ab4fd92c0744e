package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"k8s.io/client-go/util/cert"
)

// bundle is a caBundle, split into its PEM blocks so that those of others can be
// kept byte for byte.
type bundle struct {
	entries []entry
	// rest is what follows the last block.
	rest []byte
}

// entry is a PEM block of a caBundle.
type entry struct {
	// raw is the block as it was found, with the text before it.
	raw         []byte
	fingerprint string
	// certificate is nil for a block that API servers do not take for one.
	certificate *x509.Certificate
}

func parseBundle(encoded []byte) bundle {
	var b bundle
	for {
		block, rest := pem.Decode(encoded)
		if block == nil {
			b.rest = encoded
			return b
		}
		e := entry{raw: encoded[:len(encoded)-len(rest)], fingerprint: fingerprint(block.Bytes)}
		// Go's x509.CertPool ignores blocks of other types and with headers.
		if block.Type == cert.CertificateBlockType && len(block.Headers) == 0 {
			e.certificate, _ = x509.ParseCertificate(block.Bytes)
		}
		b.entries = append(b.entries, e)
		encoded = rest
	}
}

// fingerprint identifies a PEM block by its content.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// certificates returns what API servers trust because of the bundle.
func (b bundle) certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for _, e := range b.entries {
		if e.certificate != nil {
			all = append(all, e.certificate)
		}
	}
	return all
}

// with returns the bundle with all of published in it, without the entries whose
// fingerprint is removed. Everything else stays as it is.
func (b bundle) with(published []*x509.Certificate, removed func(fingerprint string) bool) []byte {
	// What is missing comes first, where no malformed block can hide it.
	var missing []*x509.Certificate
	for _, ca := range published {
		if !contains(b.certificates(), ca) {
			missing = append(missing, ca)
		}
	}
	all := [][]byte{encode(missing...)}
	for _, e := range b.entries {
		if !removed(e.fingerprint) {
			all = append(all, e.raw)
		}
	}
	return bytes.Join(append(all, b.rest), nil)
}
