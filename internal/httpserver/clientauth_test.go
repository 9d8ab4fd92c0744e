package httpserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
)

// signer is a CA with its key.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := new(signer)
	s.certificate, s.key = sign(t, s, &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: time.Now().Add(24 * time.Hour),
	})
	return s
}

func sign(t *testing.T, by *signer, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	parent, parentKey := by.certificate, by.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (s *signer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.certificate)
	return pool
}

// client returns a template of an accepted certificate of the API server.
func client(change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	return template
}

func TestRequireClientCert(t *testing.T) {
	ca, other := newSigner(t), newSigner(t)
	for name, test := range map[string]struct {
		by     *signer
		change func(*x509.Certificate)
		names  []string
		want   string
	}{
		"the API server":               {ca, nil, []string{"kube-apiserver"}, ""},
		"any name":                     {ca, func(c *x509.Certificate) { c.Subject.CommonName = "x" }, nil, ""},
		"a name in the subjectAltName": {ca, func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "x", []string{"a", "b"} }, []string{"b"}, ""},
		"another CA":                   {other, nil, nil, "unknown authority"},
		"expired":                      {ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil, "expired"},
		"not yet valid":                {ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, nil, "not yet valid"},
		"for servers only":             {ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil, "incompatible key usage"},
		"another name":                 {ca, func(c *x509.Certificate) { c.Subject.CommonName = "system:node:a" }, []string{"kube-apiserver"}, `"system:node:a"`},
		"no name allowed":              {ca, nil, []string{}, "--client-ca-allowed-names"},
		"a part of a name":             {ca, func(c *x509.Certificate) { c.Subject.CommonName = "kube-apiserver-kubelet-client" }, []string{"kube-apiserver"}, "--client-ca-allowed-names"},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, _ := sign(t, test.by, client(test.change))
			clients := &ClientAuth{Roots: ca.pool, AllowedNames: test.names}
			err := new(clientState).authorize(clients, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}, time.Now())
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Reason != ClientCertificateRefused || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, state := range []*tls.ConnectionState{nil, {}} {
		if err := new(clientState).authorize(&ClientAuth{Roots: ca.pool}, state, time.Now()); err == nil || err.Reason != ClientCertificateMissing {
			t.Errorf("no certificate: got %v", err)
		}
	}
}

// TestClientState_reevaluates checks that a certificate is verified again after it or
// its CA expires, and after the CA is replaced.
func TestClientState_reevaluates(t *testing.T) {
	ca, next := newSigner(t), newSigner(t)
	current := ca.pool()
	clients := &ClientAuth{Roots: func() *x509.CertPool { return current }}
	certificate, _ := sign(t, ca, client(nil))
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
	peer, now := new(clientState), time.Now()

	wantErr := func(what string, now time.Time, want bool) {
		t.Helper()
		if err := peer.authorize(clients, state, now); (err != nil) != want {
			t.Errorf("%s: got %v", what, err)
		}
	}
	wantErr("at first", now, false)
	wantErr("a second before its end", certificate.NotAfter.Add(-time.Second), false)
	wantErr("a second after its end", certificate.NotAfter.Add(time.Second), true)
	wantErr("after the clock was put right", certificate.NotAfter.Add(-time.Second), true)
	current = next.pool()
	wantErr("under another CA", now, true)
	current = ca.pool()
	wantErr("under its CA again", now, false)
	if !peer.until.Equal(certificate.NotAfter) {
		t.Errorf("got a cached result until %s, want %s", peer.until, certificate.NotAfter)
	}

	current = next.pool()
	future, _ := sign(t, next, client(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }))
	state.PeerCertificates[0] = future
	wantErr("before its beginning", now, true)
	wantErr("after its beginning", now.Add(2*time.Minute), false)
}

// served is a Server on loopback that requires client certificates.
type served struct {
	roots atomic.Pointer[x509.CertPool]
	url   string
	stop  func()
	// rejections counts requests that no handler got.
	rejections atomic.Int64
}

// readBody reads the body and answers with HTTP 200, or with the error.
type readBody struct{}

func (readBody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		httperror.From(err, "").Write(w)
	}
}

func serveTo(t *testing.T, ca *signer) *served {
	t.Helper()
	served := new(served)
	served.roots.Store(ca.pool())
	certificate, key := sign(t, ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
	})
	var listeners [2]net.Listener
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	server := New(Options{
		Listener: listeners[0], MetricsListener: listeners[1],
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}, nil
		},
		ClientAuth: ClientAuth{Roots: served.roots.Load, AllowedNames: []string{"kube-apiserver"}},
		Handlers:   map[string]http.Handler{"/mutate": readBody{}, "/validate-serviceaccount": readBody{}},
		OnReject:   func(*http.Request, time.Duration, *httperror.Error) { served.rejections.Add(1) },
		Logger:     slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		ShutdownTimeout: time.Minute,
	})
	served.url = "https://" + listeners[0].Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	served.stop = func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return served
}

// clientWith returns a client that presents the certificate. version is its newest TLS
// version, or 0 for all.
func (s *served) clientWith(ca *signer, certificate *x509.Certificate, key *ecdsa.PrivateKey, version uint16) *http.Client {
	config := &tls.Config{RootCAs: ca.pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if certificate != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

func (s *served) ask(t *testing.T, client *http.Client) (status int, message string, resumed bool) {
	t.Helper()
	response, err := client.Post(s.url+"/mutate", "application/json",
		strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body), response.TLS.DidResume
}

// TestRequireClientCert_caRemoved checks that the certificate is then rejected over open
// connections and over resumed TLS sessions.
func TestRequireClientCert_caRemoved(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			serving, old, next := newSigner(t), newSigner(t), newSigner(t)
			served := serveTo(t, serving)
			defer served.stop()
			served.roots.Store(old.pool())
			certificate, key := sign(t, old, client(nil))
			client := served.clientWith(serving, certificate, key, version)
			if status, message, _ := served.ask(t, client); status != http.StatusOK {
				t.Fatalf("HTTP %d: %s", status, message)
			}
			client.CloseIdleConnections()
			if status, _, resumed := served.ask(t, client); status != http.StatusOK || !resumed {
				t.Fatalf("got HTTP %d, resumed %t; want 200 and a resumed session", status, resumed)
			}
			served.roots.Store(next.pool())
			if status, message, _ := served.ask(t, client); status != http.StatusForbidden || !strings.Contains(message, "unknown authority") {
				t.Errorf("over an open connection: HTTP %d: %s", status, message)
			}
			client.CloseIdleConnections()
			if status, _, resumed := served.ask(t, client); status != http.StatusForbidden || !resumed {
				t.Errorf("over a resumed session: HTTP %d, resumed %t", status, resumed)
			}
		})
	}
}

func TestRequireClientCert_probesExempt(t *testing.T) {
	ca := newSigner(t)
	served := serveTo(t, ca)
	client := served.clientWith(ca, nil, nil, 0)
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := client.Get(served.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	for range 100 {
		if status, message, _ := served.ask(t, client); status != http.StatusForbidden || !strings.Contains(message, "--admission-control-config-file") {
			t.Fatalf("HTTP %d: %s", status, message)
		}
	}
	response, err := client.Post(served.url+"/validate-serviceaccount", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("/validate-serviceaccount: %s", response.Status)
	}
	client.CloseIdleConnections()
	served.stop()
	if got, want := served.rejections.Load(), int64(101); got != want {
		t.Errorf("got %d rejections, want %d", got, want)
	}
}

// TestCheckChainSize uses certificates that are large because they have many names.
func TestCheckChainSize(t *testing.T) {
	ca := newSigner(t)
	served := serveTo(t, ca)
	defer served.stop()
	named := func(size int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{strings.Repeat("x", 98)}, size/100) }
	}
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		taken, key := sign(t, ca, client(named(maxClientChainBytes-1024)))
		if status, message, _ := served.ask(t, served.clientWith(ca, taken, key, version)); status != http.StatusOK {
			t.Errorf("%s: %d bytes: HTTP %d: %s", name, len(taken.Raw), status, message)
		}
		refused, key := sign(t, ca, client(named(maxClientChainBytes)))
		response, err := served.clientWith(ca, refused, key, version).Get(served.url + "/healthz")
		if err == nil {
			response.Body.Close()
			t.Errorf("%s: %d bytes are accepted, want an error", name, len(refused.Raw))
		}
	}
}

func TestRequireClientCert_truncatesSubject(t *testing.T) {
	ca := newSigner(t)
	certificate, _ := sign(t, newSigner(t), client(func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("x", 10_000) }))
	err := new(clientState).authorize(&ClientAuth{Roots: ca.pool}, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}, time.Now())
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("got %v", err)
	}
}

// TestLimitedConn_handshake checks that a handshake message whose declared size exceeds
// the limit is not buffered, and that requests have no such limit.
func TestLimitedConn_handshake(t *testing.T) {
	ca := newSigner(t)
	served := serveTo(t, ca)
	defer served.stop()
	conn, err := net.Dial("tcp", strings.TrimPrefix(served.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := []byte{1, 0, 0xff, 0xff} // a ClientHello of 64 KiB
	hello = append(hello, make([]byte, maxIdleReadBytes)...)
	for len(hello) > 0 {
		n := min(len(hello), 16<<10)
		if _, err := conn.Write(append([]byte{22, 3, 1, byte(n >> 8), byte(n)}, hello[:n]...)); err != nil {
			break
		}
		hello = hello[n:]
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server waits for a handshake message above the limit")
	}

	certificate, key := sign(t, ca, client(nil))
	caller := served.clientWith(ca, certificate, key, 0)
	for range 2 {
		body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}` + strings.Repeat(" ", 10*maxIdleReadBytes) + "}"
		response, err := caller.Post(served.url+"/mutate", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Error(response.Status)
		}
	}
	caller.CloseIdleConnections()
}

// TestLimitedConn_betweenRequests sends one request, and then a header that exceeds the
// limit between requests.
func TestLimitedConn_betweenRequests(t *testing.T) {
	ca := newSigner(t)
	served := serveTo(t, ca)
	defer served.stop()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(served.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	answers := bufio.NewReader(conn)
	for _, header := range []int{100, maxIdleReadBytes / 2} {
		if !askWithHeader(t, conn, answers, header) {
			t.Errorf("a header of %d bytes is not accepted", header)
		}
	}
	if askWithHeader(t, conn, answers, 2*maxIdleReadBytes) {
		t.Error("a header above the limit is accepted")
	}
}

// askWithHeader sends a request over the connection, and reports whether it succeeds.
func askWithHeader(t *testing.T, conn io.Writer, answers *bufio.Reader, bytes int) bool {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", bytes)); err != nil {
		return false
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}

// neverRead fails the test when it is read.
type neverRead struct{ t *testing.T }

func (n neverRead) Read([]byte) (int, error) {
	n.t.Error("the body was read")
	return 0, io.EOF
}

func TestRequireClientCert_doesNotReadBody(t *testing.T) {
	server := New(Options{
		ClientAuth: ClientAuth{Roots: newSigner(t).pool}, Handlers: map[string]http.Handler{"/mutate": readBody{}},
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	request := httptest.NewRequest(http.MethodPost, "/mutate", neverRead{t})
	response := httptest.NewRecorder()
	server.Handler().ServeHTTP(response, request)
	if response.Code != http.StatusForbidden {
		t.Errorf("HTTP %d", response.Code)
	}
}

// TestServer_slowBody checks that the deadline of the body is that of the server.
func TestServer_slowBody(t *testing.T) {
	ca := newSigner(t)
	served := serveTo(t, ca)
	certificate, key := sign(t, ca, client(nil))
	client := served.clientWith(ca, certificate, key, 0)
	reader, end := io.Pipe()
	response, err := client.Post(served.url+"/mutate?timeout=1s", "application/json", reader)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	_ = end.Close()
	if response.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), "did not arrive within 5s") {
		t.Errorf("%s: %s", response.Status, body)
	}
	client.CloseIdleConnections()
	served.stop()
}
