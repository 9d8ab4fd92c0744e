package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// backdate is the time between the start of a certificate's validity and its
// creation, for API servers whose clocks disagree. (controller-runtime and
// cert-manager do not backdate; kube-controller-manager's signer uses 5 minutes. A
// longer time has no drawback.)
const backdate = time.Hour

// authorityName is the prefix of the name of each CA that newAuthority creates.
const authorityName = "pod-identity-webhook CA "

// newAuthority creates a CA and its key.
func newAuthority(now time.Time, lifetime time.Duration) (authority, error) {
	template := &x509.Certificate{
		// The time distinguishes CAs for people who read the name.
		Subject:               pkix.Name{CommonName: authorityName + now.UTC().Format("2006-01-02 15:04:05")},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	certificate, key, err := sign(template, nil, nil)
	if err != nil {
		return authority{}, fmt.Errorf("create CA: %w", err)
	}
	return authority{certificate, key}, nil
}

// serving is a serving certificate with its issuer and renewal time.
type serving struct {
	*tls.Certificate
	// issuer is the CA that signed it, nil if no API server trusts it.
	issuer *x509.Certificate
	// renewal is when to replace it, after two thirds of its lifetime.
	renewal time.Time
}

// newServingCert creates a serving certificate for the names, and its key. The
// certificate expires no later than its CA.
func newServingCert(now time.Time, lifetime time.Duration, names []string, ca authority) (*serving, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "pod-identity-webhook"},
		DNSNames:              names,
		NotBefore:             later(now.Add(-backdate), ca.certificate.NotBefore),
		NotAfter:              earlier(now.Add(lifetime), ca.certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	certificate, key, err := sign(template, ca.certificate, ca.key)
	if err != nil {
		return nil, fmt.Errorf("create serving certificate: %w", err)
	}
	return &serving{
		Certificate: &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate},
		issuer:      ca.certificate, renewal: now.Add(certificate.NotAfter.Sub(now) * 2 / 3),
	}, nil
}

// sign creates a key and its certificate. The certificate is self-signed if parent is
// nil.
func sign(template, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	// 64 random bits, as the CA/Browser Forum's Baseline Requirements (7.1) require.
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
