package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"k8s.io/client-go/util/cert"
)

// bundle is a caBundle, split into its PEM blocks. It keeps the blocks of other
// clients byte for byte.
type bundle struct {
	entries []entry
	// rest is what follows the last block.
	rest []byte
}

// entry is a PEM block of a caBundle.
type entry struct {
	// raw is the unchanged block, with the text before it.
	raw         []byte
	fingerprint string
	// certificate is nil for a block that API servers ignore.
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

// certificates returns the certificates that the bundle makes API servers trust.
func (b bundle) certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for _, e := range b.entries {
		if e.certificate != nil {
			all = append(all, e.certificate)
		}
	}
	return all
}

// with returns the bundle with all published CAs, without the entries for which
// removed returns true. It keeps everything else unchanged.
func (b bundle) with(published []*x509.Certificate, removed func(fingerprint string) bool) []byte {
	// Missing CAs come first, where no malformed block can hide them.
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
