package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FileSource serves the certificate in two PEM files that something else writes, as
// cert-manager and the kubelet do, and reads them again when they change. A
// pair that cannot be used, such as one caught half-written, leaves the last
// good one in service.
type FileSource struct {
	fileReloader[*tls.Certificate]
	now func() time.Time
}

// NewFileSource reads the files once; it fails if they are no certificate and key.
func NewFileSource(certFile, keyFile string, logger *slog.Logger, metrics prometheus.Registerer) (*FileSource, error) {
	f := &FileSource{now: time.Now, fileReloader: fileReloader[*tls.Certificate]{
		what: "serving certificate", files: []string{certFile, keyFile}, logger: logger,
		parse: func(contents [][]byte) (*tls.Certificate, time.Time, error) {
			pair, err := tls.X509KeyPair(contents[0], contents[1])
			if err != nil {
				return nil, time.Time{}, fmt.Errorf("with the key in %s: %w", keyFile, err)
			}
			return &pair, pair.Leaf.NotAfter, nil
		},
	}}
	if err := f.load(metrics, prometheus.CounterOpts{
		Name: "pod_identity_webhook_certificate_reloads_total",
		Help: "Changes of the certificate files, by result: success or error. After an error the last good certificate stays in use until it expires.",
	}); err != nil {
		return nil, err
	}
	metrics.MustRegister(newExpiry(f.expiry))
	return f, nil
}

func newExpiry(expiry func() time.Time) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_certificate_expiry_timestamp_seconds",
		Help: "When the serving certificate expires, in seconds since 1970. From then on no API server calls the webhook.",
	}, func() float64 { return float64(expiry().Unix()) })
}

// GetCertificate is made for tls.Config.
func (f *FileSource) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.value(), nil
}

// Valid returns nil if the certificate has not expired.
func (f *FileSource) Valid() error {
	if expiry := f.expiry(); f.now().After(expiry) {
		return fmt.Errorf("the serving certificate in %s expired at %s", f.files[0], expiry.UTC().Format(time.RFC3339))
	}
	return nil
}
