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

// ClientCA is the authorities in a PEM file by which clients are known, read
// again when it changes. A file that cannot be used leaves the last good
// authorities in use.
type ClientCA struct{ fileReloader[*x509.CertPool] }

// NewClientCA reads the file once; it fails if there is no certificate in it.
func NewClientCA(file string, logger *slog.Logger, metrics prometheus.Registerer) (*ClientCA, error) {
	c := &ClientCA{fileReloader[*x509.CertPool]{
		what: "clients' CA", files: []string{file}, logger: logger,
		parse: func(contents [][]byte) (*x509.CertPool, time.Time, error) { return parseClientCA(contents[0]) },
	}}
	if err := c.load(metrics, prometheus.CounterOpts{
		Name: "pod_identity_webhook_client_ca_reloads_total",
		Help: "Changes of the file with the clients' CA, by result: success or error. After an error the last good authorities stay in use.",
	}); err != nil {
		return nil, err
	}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_client_ca_expiry_timestamp_seconds",
		Help: "When the last of the clients' authorities expires, in seconds since 1970. From then on no API server may ask.",
	}, func() float64 { return float64(c.expiry().Unix()) }))
	return c, nil
}

// Roots returns the authorities of the moment. It is the same pool until the
// file changes.
func (c *ClientCA) Roots() *x509.CertPool { return c.value() }

// parseClientCA reads PEM, and returns when the last of the authorities expires.
// It returns an error if content holds a PEM block other than a certificate, so that a private key in the file is noticed.
func parseClientCA(content []byte) (pool *x509.CertPool, expiry time.Time, err error) {
	pool = x509.NewCertPool()
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, expiry, fmt.Errorf("there is a PEM block %q: only certificates belong there", block.Type)
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
		return nil, expiry, errors.New("there is no PEM block of a certificate")
	}
	return pool, expiry, nil
}
