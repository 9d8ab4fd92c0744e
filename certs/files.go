package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FileSource serves the certificate in two PEM files that something else writes, such
// as cert-manager and the kubelet. It reloads them when they change. If the new pair
// is invalid, for example because it is only half written, it keeps the last valid
// pair.
type FileSource struct {
	fileReloader[*tls.Certificate]
	now func() time.Time
}

// NewFileSource reads the files once. It returns an error if it cannot read them, or
// if they are not a certificate and its key.
func NewFileSource(certFile, keyFile string, logger *slog.Logger, metrics prometheus.Registerer) (*FileSource, error) {
	f := &FileSource{now: time.Now, fileReloader: fileReloader[*tls.Certificate]{
		kind: "serving certificate", files: []string{certFile, keyFile}, logger: logger,
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
		Help: "Number of reloads of the certificate files after a change, by result: success or error. After an error the last valid certificate stays in use until it expires.",
	}); err != nil {
		return nil, err
	}
	metrics.MustRegister(newExpiry(f.expiry))
	return f, nil
}

func newExpiry(expiry func() time.Time) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_certificate_expiry_timestamp_seconds",
		Help: "Expiry of the serving certificate, in seconds since 1970. From then on API servers do not connect to the webhook.",
	}, func() float64 { return float64(expiry().Unix()) })
}

// GetCertificate returns the current certificate. It has the signature of
// tls.Config.GetCertificate and never returns an error.
func (f *FileSource) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.value(), nil
}

// Valid returns an error if the certificate has expired.
func (f *FileSource) Valid() error {
	if expiry := f.expiry(); f.now().After(expiry) {
		return fmt.Errorf("the serving certificate in %s expired at %s", f.files[0], expiry.UTC().Format(time.RFC3339))
	}
	return nil
}
