// Package testcerts creates valid and invalid client certificates for the webhook, as files
// and as values.
package testcerts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// validity is the lifetime of valid certificates.
const validity = 24 * time.Hour

// Authority is a CA with a key that is only in memory.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority creates a CA.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "webhook-clients"}, key)
	return &Authority{certificate: certificate, key: key}, err
}

// PEM returns the CA's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: a.certificate.Raw})
}

// Options are the properties of a certificate.
type Options struct {
	// Name is the common name.
	Name string
	// ForServers makes it a serving certificate, which is invalid for clients.
	ForServers bool
	// Expired makes its expiry lie in the past.
	Expired bool
}

// Certificate is a certificate and its key in PEM.
type Certificate struct {
	Certificate, Key []byte
}

// Pair returns the certificate for crypto/tls.
func (c Certificate) Pair() (tls.Certificate, error) { return tls.X509KeyPair(c.Certificate, c.Key) }

// Issue issues a certificate.
func (a *Authority) Issue(options Options) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: options.Name},
		NotBefore:    now.Add(-2 * validity),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if options.ForServers {
		template.ExtKeyUsage[0] = x509.ExtKeyUsageServerAuth
	}
	if options.Expired {
		template.NotAfter = now.Add(-validity)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Certificate{}, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	return Certificate{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der}),
		Key:         keyPEM,
	}, err
}

// Replace replaces a file atomically with a rename.
func Replace(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
