package sdks_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

// network is a proxy through which the names of AWS's services lead to a server on this
// machine. It is for SDKs without a setting for the endpoint, which call AWS's endpoints as
// in production. HTTPS_PROXY in the environment selects the proxy. It terminates TLS with
// certificates of its own CA.
type network struct {
	env []string // environment for a program

	mu    sync.Mutex
	hosts []string // requested hosts
}

func newNetwork(t *testing.T, server string) *network {
	t.Helper()
	n := &network{}
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	issue, caFile := newAuthority(t)
	// The signature of a request covers the host name.
	aws := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}})
	aws.TLS = &tls.Config{GetCertificate: issue, MinVersion: tls.VersionTLS12}
	aws.StartTLS()
	t.Cleanup(aws.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.note(r.Host)
		tunnel(w, r, aws.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	n.env = []string{"HTTPS_PROXY=" + proxy.URL, "AWS_CA_BUNDLE=" + caFile}
	return n
}

func (n *network) note(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = append(n.hosts, host)
}

// asked returns the requested hosts without duplicates.
func (n *network) asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(n.hosts)))
}

// tunnel connects a CONNECT request to address until both directions are closed.
func tunnel(w http.ResponseWriter, r *http.Request, address string) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy supports only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(r.Context(), "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	upwards := make(chan struct{})
	go func() {
		defer close(upwards)
		_, _ = io.Copy(server, buffered)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
	<-upwards
}

// newAuthority returns a function that issues a certificate for each requested name, and the
// file of the CA.
func newAuthority(t *testing.T) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "sdk-test-ca"}, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: ca.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issue(ca, key, hello.ServerName)
	}, file
}

// issue issues a certificate for the CA's own key, so that no other key is needed.
func issue(ca *x509.Certificate, key crypto.Signer, name string) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{name},
		NotBefore: ca.NotBefore, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
