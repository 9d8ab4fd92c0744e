package controlplane

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// credentials are the secrets of a control plane. They are made once, before
// the first start, so that a restarted API server knows its users, and they it.
type credentials struct {
	adminToken string
	caBundle   []byte // PEM; clients know the API server by it

	// Files for the API server.
	servingCert, servingKey string
	serviceAccountKey       string // signs ServiceAccount tokens
	tokenFile               string // users and their static tokens
}

func writeCredentials(dir string) (credentials, error) {
	// The certificate comes with the CA that signed it, so that it is its own
	// bundle.
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return credentials{}, fmt.Errorf("make the serving certificate: %w", err)
	}
	// RSA, as kubeadm makes it; STS would take ECDSA, too.
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return credentials{}, fmt.Errorf("make the ServiceAccount key: %w", err)
	}
	signerPEM, err := keyutil.MarshalPrivateKeyToPEM(signer)
	if err != nil {
		return credentials{}, fmt.Errorf("encode the ServiceAccount key: %w", err)
	}

	c := credentials{
		adminToken:        rand.Text(),
		caBundle:          certificate,
		servingCert:       filepath.Join(dir, "apiserver.crt"),
		servingKey:        filepath.Join(dir, "apiserver.key"),
		serviceAccountKey: filepath.Join(dir, "serviceaccount.key"),
		tokenFile:         filepath.Join(dir, "users.csv"),
	}
	for path, content := range map[string][]byte{
		c.servingCert:       certificate,
		c.servingKey:        key,
		c.serviceAccountKey: signerPEM,
		// token, user name, uid, groups
		c.tokenFile: []byte(c.adminToken + ",admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return credentials{}, err
		}
	}
	return c, nil
}
