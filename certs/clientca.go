package certs

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ClientCA is the CAs in a PEM file that sign the certificates of clients. It
// reloads the file when it changes. If the new content is invalid, it keeps the last
// valid CAs.
type ClientCA struct{ fileReloader[*x509.CertPool] }

// NewClientCA reads the file once. It returns an error if it cannot read the file, or
// if the file has no certificate or anything else than certificates.
func NewClientCA(file string, logger *slog.Logger, metrics prometheus.Registerer) (*ClientCA, error) {
	c := &ClientCA{fileReloader[*x509.CertPool]{
		kind: "client CA", files: []string{file}, logger: logger,
		parse: func(contents [][]byte) (*x509.CertPool, time.Time, error) { return parseClientCA(contents[0]) },
	}}
	if err := c.load(metrics, prometheus.CounterOpts{
		Name: "pod_identity_webhook_client_ca_reloads_total",
		Help: "Number of reloads of the client CA file after a change, by result: success or error. After an error the last valid CAs stay in use.",
	}); err != nil {
		return nil, err
	}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_client_ca_expiry_timestamp_seconds",
		Help: "Expiry of the client CA that expires last, in seconds since 1970. From then on the webhook rejects the admission requests of every API server.",
	}, func() float64 { return float64(c.expiry().Unix()) }))
	return c, nil
}

// Roots returns the current CAs. It returns the same pool until the file changes.
func (c *ClientCA) Roots() *x509.CertPool { return c.value() }

// parseClientCA parses PEM. It returns the CAs, and the expiry of the one that
// expires last. It returns an error if content holds a PEM block other than a
// certificate, so that a private key in the file is noticed.
func parseClientCA(content []byte) (pool *x509.CertPool, expiry time.Time, err error) {
	pool = x509.NewCertPool()
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, expiry, fmt.Errorf("invalid PEM block %q: only certificates are allowed", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, expiry, err
		}
		pool.AddCert(certificate)
		if certificate.NotAfter.After(expiry) {
			expiry = certificate.NotAfter
		}
	}
	if expiry.IsZero() {
		return nil, expiry, errors.New("no PEM block of a certificate")
	}
	return pool, expiry, nil
}
