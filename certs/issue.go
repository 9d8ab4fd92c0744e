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

// backdate is how long before its making a certificate becomes valid, for API
// servers whose clocks disagree. (controller-runtime and cert-manager take none;
// kube-controller-manager's signer takes 5 minutes; more costs nothing.)
const backdate = time.Hour

// newCA makes a CA and its key.
func newCA(now time.Time, lifetime time.Duration) (*x509.Certificate, crypto.Signer, error) {
	template := &x509.Certificate{
		// The time tells one CA from the next where people read it.
		Subject:               pkix.Name{CommonName: "pod-identity-webhook CA " + now.UTC().Format("2006-01-02 15:04:05")},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	certificate, key, err := sign(template, nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("make a CA: %w", err)
	}
	return certificate, key, nil
}

// newServing makes a serving certificate for the names, the first of which is
// its own, and its key. It ends with its CA at the latest.
func newServing(now time.Time, lifetime time.Duration, names []string, ca *x509.Certificate, caKey crypto.Signer) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "pod-identity-webhook"},
		DNSNames:              names,
		NotBefore:             later(now.Add(-backdate), ca.NotBefore),
		NotAfter:              earlier(now.Add(lifetime), ca.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	certificate, key, err := sign(template, ca, caKey)
	if err != nil {
		return nil, fmt.Errorf("make a serving certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}, nil
}

// sign makes a key and its certificate, signed by itself if parent is nil.
func sign(template, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	// 64 random bits, as the CA/Browser Forum's baseline requirements (7.1) ask
	// for; without one of its own a certificate would have the number 0.
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
