package controlplane

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// credentials are the secrets of a control plane. They are created once, before the first
// start, so that they stay valid when the API server restarts.
type credentials struct {
	tokens   map[string]string // by user
	caBundle []byte            // PEM; clients verify the API server with it

	// Files for the API server.
	servingCert, servingKey string
	serviceAccountKey       string // signs ServiceAccount tokens
	tokenFile               string // users and their static tokens
}

const (
	// admin is a cluster administrator by RBAC. The API server limits the requests of this
	// user like those of other users.
	admin = "admin"
	// adminGroup is kubeadm's group of administrators.
	adminGroup = "kubeadm:cluster-admins"
	// superAdmin is in system:masters. RBAC does not apply to that group, and API Priority
	// and Fairness does not limit it. Only the start of the control plane uses this user, to
	// create the role binding of adminGroup.
	superAdmin = "super-admin"
)

func writeCredentials(dir string, address net.IP, users []User) (credentials, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1)}
	var names []string
	if address != nil {
		// Pods use the address or the names of the Service.
		addresses = append(addresses, address, serviceAddress())
		names = []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	}
	// GenerateSelfSignedCertKey appends the CA that signed the certificate, so its result
	// is also the CA bundle.
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", addresses, names)
	if err != nil {
		return credentials{}, fmt.Errorf("create serving certificate: %w", err)
	}
	// RSA, like kubeadm. STS also accepts ECDSA.
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return credentials{}, fmt.Errorf("create ServiceAccount key: %w", err)
	}
	signerPEM, err := keyutil.MarshalPrivateKeyToPEM(signer)
	if err != nil {
		return credentials{}, fmt.Errorf("encode ServiceAccount key: %w", err)
	}

	c := credentials{
		tokens:            map[string]string{},
		caBundle:          certificate,
		servingCert:       filepath.Join(dir, "apiserver.crt"),
		servingKey:        filepath.Join(dir, "apiserver.key"),
		serviceAccountKey: filepath.Join(dir, "serviceaccount.key"),
		tokenFile:         filepath.Join(dir, "users.csv"),
	}
	var tokenFile bytes.Buffer
	list := csv.NewWriter(&tokenFile)
	administrators := []User{{Name: superAdmin, Groups: []string{"system:masters"}}, {Name: admin, Groups: []string{adminGroup}}}
	for _, user := range append(administrators, users...) {
		c.tokens[user.Name] = rand.Text()
		if err := list.Write([]string{c.tokens[user.Name], user.Name, user.Name, strings.Join(user.Groups, ",")}); err != nil {
			return credentials{}, err
		}
	}
	list.Flush()
	for path, content := range map[string][]byte{
		c.servingCert:       certificate,
		c.servingKey:        key,
		c.serviceAccountKey: signerPEM,
		c.tokenFile:         tokenFile.Bytes(),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return credentials{}, err
		}
	}
	return c, nil
}
