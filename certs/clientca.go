package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/follow"
)

// ClientCA is the authorities in a PEM file by which clients are known, read
// again when it changes. A file that cannot be used leaves the last good
// authorities in use.
type ClientCA struct {
	file         string
	logger       *slog.Logger
	reloads      *prometheus.CounterVec
	pollInterval time.Duration

	// pem is what was read last, good or bad; alarmed says that it is bad and
	// that this has been told. They are Run's alone.
	pem     []byte
	alarmed bool

	current atomic.Pointer[clientAuthorities]
}

// clientAuthorities are those of one reading of the file.
type clientAuthorities struct {
	pool *x509.CertPool
	// expiry is when the last of them expires.
	expiry time.Time
}

// NewClientCA reads the file once; it fails if there is no certificate in it.
func NewClientCA(file string, logger *slog.Logger, metrics prometheus.Registerer) (*ClientCA, error) {
	c := &ClientCA{
		file:         file,
		logger:       logger,
		pollInterval: follow.PollInterval,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_client_ca_reloads_total",
			Help: "Changes of the file with the clients' CA, by result: success or error. After an error the last good authorities stay in use.",
		}, []string{"result"}),
	}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	metrics.MustRegister(c.reloads, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_client_ca_expiry_timestamp_seconds",
		Help: "When the last of the clients' authorities expires, in seconds since 1970. From then on no API server may ask.",
	}, func() float64 { return float64(c.current.Load().expiry.Unix()) }))
	c.reloads.WithLabelValues("success")
	c.reloads.WithLabelValues("error")
	return c, nil
}

// Roots returns the authorities of the moment. It is the same pool until the
// file changes.
func (c *ClientCA) Roots() *x509.CertPool { return c.current.Load().pool }

// Run reads the file again upon each change, until ctx is done.
func (c *ClientCA) Run(ctx context.Context) {
	follow.Files(ctx, []string{c.file}, c.pollInterval, c.logger, c.reloadAndTell)
}

// reloadAndTell says whether to look again soon: a file that cannot be used may
// have been caught half-written, and is an alarm only if it stays so.
func (c *ClientCA) reloadAndTell() (doubt bool) {
	changed, err := c.reload()
	switch {
	case changed && err == nil:
		c.alarmed = false
		c.reloads.WithLabelValues("success").Inc()
		c.logger.Info("clients' CA reloaded", "file", c.file, "expiry", c.current.Load().expiry)
	case changed:
		c.alarmed = false
		return true
	case err != nil && !c.alarmed:
		c.alarmed = true
		c.reloads.WithLabelValues("error").Inc()
		c.logger.Warn("clients' CA cannot be used, the last good one stays", "error", err)
	}
	return false
}

// reload reads the file, says whether it differs from what was read last, and
// why it cannot be used, if so.
func (c *ClientCA) reload() (changed bool, err error) {
	content, err := os.ReadFile(c.file)
	changed = !bytes.Equal(content, c.pem)
	c.pem = content
	if err != nil {
		return changed, fmt.Errorf("read the clients' CA: %w", err)
	}
	parsed, err := parseClientCA(content)
	if err != nil {
		return changed, fmt.Errorf("clients' CA in %s: %w", c.file, err)
	}
	if changed {
		c.current.Store(parsed)
	}
	return changed, nil
}

// parseClientCA reads PEM. Anything in it but certificates is a mistake: who
// puts a key there should know.
func parseClientCA(content []byte) (*clientAuthorities, error) {
	parsed := &clientAuthorities{pool: x509.NewCertPool()}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a PEM block %q: only certificates belong there", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		parsed.pool.AddCert(certificate)
		if certificate.NotAfter.After(parsed.expiry) {
			parsed.expiry = certificate.NotAfter
		}
	}
	if parsed.expiry.IsZero() {
		return nil, errors.New("there is no PEM block of a certificate")
	}
	return parsed, nil
}
