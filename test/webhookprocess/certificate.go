package webhookprocess

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// validity is the lifetime of serving certificates: longer than any test, and short in case
// one is leaked.
const validity = 24 * time.Hour

// authority is a CA with a key that is only in memory, and with the files of the last serving
// certificate.
type authority struct {
	certificate       *x509.Certificate
	key               crypto.Signer
	dir               string
	certFile, keyFile string
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create CA key: %w", err)
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "pod-identity-webhook-test-ca"}, key)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	return &authority{
		certificate: certificate,
		key:         key,
		dir:         dir,
		certFile:    filepath.Join(dir, "tls.crt"),
		keyFile:     filepath.Join(dir, "tls.key"),
	}, nil
}

// ReplaceCertificate issues a new key and certificate of the same CA, valid for a day from
// now. It replaces the webhook's files atomically, as the kubelet updates a mounted Secret.
// It returns the new certificate.
func (w *Webhook) ReplaceCertificate() (*x509.Certificate, error) {
	certificate, key, err := w.certificates.issue(time.Now())
	if err != nil {
		return nil, fmt.Errorf("create serving certificate: %w", err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("encode serving key: %w", err)
	}
	return certificate, w.certificates.write(map[string][]byte{
		w.certificates.keyFile: keyPEM, w.certificates.certFile: encode(certificate),
	})
}

// CABundle returns the CA in PEM, with which the API server verifies the webhook.
func (w *Webhook) CABundle() []byte { return encode(w.certificates.certificate) }

// Client returns an HTTP client with its own connections that trusts the webhook. Each of
// its requests has a timeout.
func (w *Webhook) Client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(w.certificates.certificate)
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
	}
}

func (a *authority) issue(now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	// 64 random bits, as the CA/Browser Forum's Baseline Requirements demand.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "pod-identity-webhook"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		// The Service's name, for tests in which the Service leads here.
		DNSNames:    []string{"pod-identity-webhook.eks.svc"},
		NotBefore:   now,
		NotAfter:    now.Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func encode(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: certificate.Raw})
}

// write replaces files in the directory of the authority. Each file is a link into the
// directory "..data", which is itself a link and is replaced atomically
// (k8s.io/kubernetes/pkg/volume/util/atomic_writer.go).
func (a *authority) write(files map[string][]byte) error {
	version, err := os.MkdirTemp(a.dir, "..version")
	if err != nil {
		return err
	}
	data := filepath.Join(a.dir, "..data")
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(version, filepath.Base(file)), content, 0o600); err != nil {
			return err
		}
		link := filepath.Join(filepath.Base(data), filepath.Base(file))
		if err := os.Symlink(link, file); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	next := data + "_next"
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		return err
	}
	return os.Rename(next, data)
}
