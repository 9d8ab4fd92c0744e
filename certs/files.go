package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/follow"
)

// Files serves the certificate in two PEM files that something else writes, as
// cert-manager and the kubelet do, and reads them again when they change. A
// pair that cannot be used, such as one caught half-written, leaves the last
// good one in service.
type Files struct {
	certFile, keyFile string
	logger            *slog.Logger
	reloads           *prometheus.CounterVec
	pollInterval      time.Duration
	now               func() time.Time

	// certPEM and keyPEM are what was read last, good or bad; alarmed says that
	// it is bad and that this has been told. They are Run's alone.
	certPEM, keyPEM []byte
	alarmed         bool

	mu      sync.RWMutex
	current *tls.Certificate
}

// NewFiles reads the files once; it fails if they are no certificate and key.
func NewFiles(certFile, keyFile string, logger *slog.Logger, metrics prometheus.Registerer) (*Files, error) {
	f := &Files{
		certFile:     certFile,
		keyFile:      keyFile,
		logger:       logger,
		pollInterval: follow.PollInterval,
		now:          time.Now,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_certificate_reloads_total",
			Help: "Changes of the certificate files, by result: success or error. After an error the last good certificate stays in use until it expires.",
		}, []string{"result"}),
	}
	if _, err := f.reload(); err != nil {
		return nil, err
	}
	metrics.MustRegister(f.reloads, newExpiry(f.expiry))
	f.reloads.WithLabelValues("success")
	f.reloads.WithLabelValues("error")
	return f, nil
}

func newExpiry(expiry func() time.Time) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_certificate_expiry_timestamp_seconds",
		Help: "When the serving certificate expires, in seconds since 1970. From then on no API server calls the webhook.",
	}, func() float64 { return float64(expiry().Unix()) })
}

// GetCertificate is made for tls.Config.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.current, nil
}

// Valid returns nil if the certificate has not expired.
func (f *Files) Valid() error {
	if expiry := f.expiry(); f.now().After(expiry) {
		return fmt.Errorf("the serving certificate in %s expired at %s", f.certFile, expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

func (f *Files) expiry() time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.current.Leaf.NotAfter
}

// Run reads the files again upon each change, until ctx is done.
func (f *Files) Run(ctx context.Context) {
	follow.Files(ctx, []string{f.certFile, f.keyFile}, f.pollInterval, f.logger, f.reloadAndTell)
}

// reloadAndTell says whether to look again soon: files that cannot be used may
// have been caught half-written, and are an alarm only if they stay so.
func (f *Files) reloadAndTell() (doubt bool) {
	changed, err := f.reload()
	switch {
	case changed && err == nil:
		f.reloads.WithLabelValues("success").Inc()
		f.logger.Info("serving certificate reloaded", "file", f.certFile, "expiry", f.expiry())
	case changed:
		f.alarmed = false
		return true
	case err != nil && !f.alarmed:
		f.alarmed = true
		f.reloads.WithLabelValues("error").Inc()
		f.logger.Warn("certificate files cannot be used, the last good certificate stays", "error", err, "expiry", f.expiry())
	}
	return false
}

// reload reads the files, says whether they differ from what was read last, and
// why they cannot be used, if so.
func (f *Files) reload() (changed bool, err error) {
	certPEM, certErr := os.ReadFile(f.certFile)
	keyPEM, keyErr := os.ReadFile(f.keyFile)
	changed = !bytes.Equal(certPEM, f.certPEM) || !bytes.Equal(keyPEM, f.keyPEM)
	f.certPEM, f.keyPEM = certPEM, keyPEM
	if err := errors.Join(certErr, keyErr); err != nil {
		return changed, fmt.Errorf("read certificate files: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return changed, fmt.Errorf("certificate %s with key %s: %w", f.certFile, f.keyFile, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = &pair
	return changed, nil
}
