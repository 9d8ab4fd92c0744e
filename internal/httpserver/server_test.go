package httpserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// resolverFunc is a webhook.Resolver that calls a function.
type resolverFunc func(context.Context, types.NamespacedName) (*identity.Identity, error)

func (f resolverFunc) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	return f(ctx, name)
}

// role grants every ServiceAccount the same role.
func role(context.Context, types.NamespacedName) (*identity.Identity, error) {
	return &identity.Identity{
		Method: identity.WebIdentity, RoleARN: "arn:aws:iam::111122223333:role/app", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
	}, nil
}

// review is the AdmissionReview of a small pod.
const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","operation":"CREATE","kind":{"version":"v1","kind":"Pod"},` +
	`"namespace":"default","object":{"spec":{"serviceAccountName":"app","containers":[{"name":"app"}]}}}}`

// newServer returns the server with a webhook, as in the program.
func newServer(resolver resolverFunc, change ...func(*httpserver.Options)) *httpserver.Server {
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	admission := webhook.New(webhook.Config{
		Mutate: webhook.NewMutator(webhook.MutateConfig{
			Resolver: resolver, Settings: inject.Settings{AnnotationPrefix: "eks.amazonaws.com", MountPath: "/token", FallbackMountPath: "/fallback"},
			Logger: logger, Metrics: registry,
		}).Handle,
		Memory: func(ctx context.Context) webhook.Memory { return httpserver.ReservationFrom(ctx) },
		Logger: logger, Metrics: registry,
	})
	options := httpserver.Options{
		Handlers: admission.Handlers(), OnReject: admission.Rejected, OnPanic: admission.Panicked, Logger: logger, Registry: registry,
	}
	for _, f := range change {
		f(&options)
	}
	return httpserver.New(options)
}

// running is a Server that runs on loopback.
type running struct {
	client *http.Client
	url    string
	stop   context.CancelFunc
	ended  chan error
}

func run(t *testing.T, resolver resolverFunc, change ...func(*httpserver.Options)) *running {
	t.Helper()
	borrowed := httptest.NewUnstartedServer(nil)
	borrowed.EnableHTTP2 = true // the client prefers it
	borrowed.StartTLS()
	t.Cleanup(borrowed.Close)
	listener, metricsListener := listen(t), listen(t)
	server := newServer(resolver, append([]func(*httpserver.Options){func(c *httpserver.Options) {
		c.Listener, c.MetricsListener = listener, metricsListener
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &borrowed.TLS.Certificates[0], nil }
		c.ShutdownTimeout = 10 * time.Second
	}}, change...)...)
	ctx, stop := context.WithCancel(context.Background())
	r := &running{client: borrowed.Client(), url: "https://" + listener.Addr().String(), stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- server.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not end")
		return nil
	}
}

// status returns the HTTP status of a path, or 0 without a response.
func (r *running) status(path string) int {
	response, err := r.client.Get(r.url + path)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != 1 {
		return -1
	}
	return response.StatusCode
}

func TestRun_HTTP1(t *testing.T) {
	server := run(t, role)
	if got := server.status("/healthz"); got != http.StatusOK {
		t.Errorf("/healthz: %d", got)
	}
	if got := server.status("/readyz"); got != http.StatusOK {
		t.Errorf("/readyz: %d", got)
	}
	server.stop()
	if err := server.end(t); err != nil {
		t.Error(err)
	}
}

func TestRun_readiness(t *testing.T) {
	server := run(t, role, func(c *httpserver.Options) {
		c.Ready = []func() error{func() error { return nil }, func() error { return errors.New("amiss") }}
	})
	if got := server.status("/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", got)
	}
	if got := server.status("/healthz"); got != http.StatusOK {
		t.Errorf("/healthz: %d", got)
	}
}

// TestRun_drain keeps a request open during the shutdown.
func TestRun_drain(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server := run(t, func(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
		close(entered)
		<-release
		return role(ctx, name)
	}, func(c *httpserver.Options) { c.ShutdownDelay = time.Second })
	// A client that keeps sending requests over one connection.
	answered := make(chan int, 1)
	go func() {
		response, err := server.client.Post(server.url+"/mutate", "application/json", strings.NewReader(review))
		if err != nil {
			answered <- 0
			return
		}
		defer func() { _ = response.Body.Close() }()
		answered <- response.StatusCode
	}()
	<-entered

	server.stop()
	deadline := time.After(30 * time.Second)
	for server.status("/readyz") != http.StatusServiceUnavailable {
		select {
		case <-deadline:
			t.Fatal("still ready after the stop")
		default:
		}
	}
	select {
	case err := <-server.ended:
		t.Fatalf("Run returned with a request in flight: %v", err)
	default:
	}
	close(release)
	if got := <-answered; got != http.StatusOK {
		t.Errorf("the request in flight: got HTTP %d", got)
	}
	if err := server.end(t); err != nil {
		t.Errorf("got %v after a full drain, want nil", err)
	}
}

func TestRun_drainTimeout(t *testing.T) {
	entered := make(chan struct{})
	release := make(chan struct{})
	defer close(release)
	server := run(t, func(context.Context, types.NamespacedName) (*identity.Identity, error) {
		close(entered)
		<-release
		return nil, errors.New("too late")
	}, func(c *httpserver.Options) { c.ShutdownTimeout = 10 * time.Millisecond })
	go func() {
		response, err := server.client.Post(server.url+"/mutate", "application/json", strings.NewReader(review))
		if err == nil {
			_ = response.Body.Close()
		}
	}()
	<-entered
	server.stop()
	if err := server.end(t); err == nil || !strings.Contains(err.Error(), "10ms") {
		t.Errorf("got %v", err)
	}
}

// TestRun_unusedConnection keeps a connection open without a request for longer than a
// body may take: API servers open spare connections and use them later.
func TestRun_unusedConnection(t *testing.T) {
	server := run(t, role)
	connection, err := tls.Dial("tcp", strings.TrimPrefix(server.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetReadDeadline(time.Now().Add(7 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection was closed: %v", err)
	}
	if err := connection.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatalf("no response over the connection: %v", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("over the connection: got %s", response.Status)
	}
}

func TestRun_closesConnectionsWhenDraining(t *testing.T) {
	server := run(t, role, func(c *httpserver.Options) { c.ShutdownDelay = 5 * time.Second })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}}
	// closes sends a request, and reports whether the response closes the connection.
	closes := func() bool {
		t.Helper()
		response, err := client.Post(server.url+"/mutate", "application/json", strings.NewReader(review))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.Close
	}
	if closes() {
		t.Error("connections are not kept")
	}
	server.stop()
	deadline := time.After(30 * time.Second)
	for !closes() {
		select {
		case <-deadline:
			t.Fatal("connections are kept while the server drains")
		default:
		}
	}
}
