package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
)

// certificate is a self-signed serving certificate for loopback, stored as files.
type certificate struct {
	file, key string
	pem       []byte
}

func newCertificate(dir string) (certificate, error) {
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return certificate{}, fmt.Errorf("create serving certificate: %w", err)
	}
	c := certificate{file: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), pem: certPEM}
	return c, errors.Join(os.WriteFile(c.file, certPEM, 0o600), os.WriteFile(c.key, keyPEM, 0o600))
}

// requestTimeout is the API server's default timeout of webhooks.
const requestTimeout = 10 * time.Second

// trusted returns a client configuration that trusts the certificate.
func (c certificate) trusted() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.pem)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
