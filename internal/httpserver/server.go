// Package httpserver serves requests of API servers over TLS. It limits connections,
// bodies, time and memory, verifies client certificates, and drains requests when it
// stops. It does not depend on the content of requests.
package httpserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
)

// maxTimeout is the longest timeoutSeconds of a webhook configuration.
const maxTimeout = 30 * time.Second

// idleTimeout is longer than an API server keeps an unused connection.
const idleTimeout = 2 * time.Minute

// Registry registers metrics, and collects them for /metrics.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// Options is the configuration of a Server.
type Options struct {
	// Listener accepts admission requests and probes over TLS. MetricsListener accepts
	// scrapes over HTTP. The Server closes both.
	Listener, MetricsListener net.Listener
	// GetCertificate returns the current serving certificate.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready are the readiness checks. The server is ready if all of them return nil.
	Ready []func() error
	// Degraded are checks that do not affect readiness. /readyz prints their errors
	// after "ok".
	Degraded []func() error
	// Handlers handle POST requests from the clients of ClientAuth, by path. The context
	// of a request has its Reservation.
	Handlers map[string]http.Handler
	// OnReject is called after the response to each request that was rejected before it
	// reached a handler. OnPanic is called for each panic of a handler. Both can be nil.
	OnReject func(r *http.Request, took time.Duration, err *httperror.Error)
	OnPanic  func()
	// MinTLSVersion and CipherSuites are as in tls.Config. 0 means TLS 1.2, and nil
	// means Go's default.
	MinTLSVersion uint16
	CipherSuites  []uint16
	// ClientAuth restricts the clients of Handlers. All clients can send probes.
	ClientAuth ClientAuth
	// Debug serves /debug on the metrics port; nil for none.
	Debug http.Handler
	// ShutdownDelay is how long the server keeps accepting requests while it reports
	// not ready, so that the cluster sends new requests to other replicas.
	// ShutdownTimeout is how long requests in flight may take after that.
	ShutdownDelay, ShutdownTimeout time.Duration

	Logger   *slog.Logger
	Registry Registry
}

// Server is the HTTP server of the webhook.
type Server struct {
	options     Options
	connTracker *connTracker
	memory      *memoryLimiter
	linger      *linger
	log         *ratelimitedlog.Logger
	stopping    atomic.Bool
}

// New returns a Server. Call Run to start it.
func New(options Options) *Server {
	log := ratelimitedlog.New(options.Logger)
	return &Server{
		options: options, log: log, memory: newMemoryLimiter(), linger: new(linger),
		connTracker: newConnTracker(maxConnections, log, options.Registry),
	}
}

// Handler returns the handler of the TLS port.
func (s *Server) Handler() http.Handler {
	router := chi.NewRouter()
	router.Use(s.recoverPanics, s.closeWhenDraining, setBodyDeadline)
	limited := router.With(s.requireClientCert, s.limitMemory)
	for path, handler := range s.options.Handlers {
		limited.Method(http.MethodPost, path, handler)
	}
	router.Get("/healthz", s.healthz)
	router.Get("/readyz", s.readyz)
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("pod-identity-webhook: %s does not allow method %s", r.URL.Path, r.Method), http.StatusMethodNotAllowed)
	})
	return router
}

// reject writes the error response and calls OnReject.
func (s *Server) reject(w http.ResponseWriter, r *http.Request, took time.Duration, err *httperror.Error) {
	err.Write(w)
	if s.options.OnReject != nil {
		s.options.OnReject(r, took, err)
	}
}

// recoverPanics answers with HTTP 500 if a handler panics, so that the failurePolicy
// applies to the pod and the connection stays usable.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			recovered := recover()
			if recovered == nil {
				return
			}
			if recovered == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
				panic(recovered)
			}
			if s.options.OnPanic != nil {
				s.options.OnPanic()
			}
			// The value of the panic may quote the request. Its type and the stack
			// are enough for debugging.
			s.log.Log(r.Context(), slog.LevelError, "Handler panicked, please report it", Panic,
				"path", r.URL.Path, "panic", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
			http.Error(w, "pod-identity-webhook: internal error, see the webhook's log", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}

// closeWhenDraining sets "Connection: close" on responses while the server drains, so
// that clients open a new connection for the next request. If the server closed the
// connection itself, a request in flight could be lost.
func (s *Server) closeWhenDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// setBodyDeadline sets the deadline for the request body. It also applies if no handler
// reads the body, because net/http waits for the rest of it after the response.
func setBodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// This fails without a connection, as in unit tests.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		next.ServeHTTP(w, r)
	})
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok"))
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok"))
	for _, check := range s.options.Degraded {
		if err := check(); err != nil {
			_, _ = fmt.Fprintf(w, "\ndegraded: %v", err)
		}
	}
}

func (s *Server) ready() error {
	if s.stopping.Load() {
		return errors.New("shutting down")
	}
	var failed []error
	for _, check := range s.options.Ready {
		failed = append(failed, check())
	}
	return errors.Join(failed...)
}

// Run serves until ctx is done and then drains. For ShutdownDelay it reports not ready
// and still accepts requests. Then it waits for the requests in flight, at most for
// ShutdownTimeout. Run returns nil if all of them have completed. It returns an error if
// they have not, or if one of the listeners fails.
func (s *Server) Run(ctx context.Context) error {
	tlsConfig := &tls.Config{
		MinVersion:     cmp.Or(s.options.MinTLSVersion, tls.VersionTLS12),
		CipherSuites:   s.options.CipherSuites,
		GetCertificate: s.options.GetCertificate,
	}
	if s.options.ClientAuth.Roots != nil {
		tlsConfig.ClientAuth = tls.RequestClientCert // see requireClientCert
		tlsConfig.VerifyConnection = checkChainSize
	}
	server := &http.Server{
		Handler:     s.Handler(),
		TLSConfig:   tlsConfig,
		ConnContext: s.connTracker.connContext,
		ConnState:   s.connTracker.connState,
		// API servers use HTTP/1.1 for a webhook behind a Service
		// (k8s.io/apiserver/pkg/util/webhook/client.go). HTTP/2 would only allow more
		// attacks.
		Protocols: new(http.Protocols),
		// API servers keep spare connections, some of them never used. They close them
		// after 90 s without use (SetTransportDefaults in
		// k8s.io/apimachinery/pkg/util/net), before the server does, so that no request
		// is lost on a closing connection. The first header may take as long as a
		// connection may be idle. A client that waits that long only uses one of
		// maxConnections.
		ReadHeaderTimeout: idleTimeout,
		IdleTimeout:       idleTimeout,
		// This also limits the TLS handshake. A body has bodyTimeout.
		WriteTimeout:   2 * maxTimeout,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelDebug),
	}
	server.Protocols.SetHTTP1(true)
	metricsServer := &http.Server{
		Handler:           s.metricsHandler(),
		ConnState:         lingerUnlessIdle,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       maxTimeout,
		WriteTimeout:      maxTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelDebug),
	}

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return ignoreServerClosed("serve admission requests", server.ServeTLS(limitedListener{s.options.Listener, s.linger}, "", ""))
	})
	group.Go(func() error {
		return ignoreServerClosed("serve metrics", metricsServer.Serve(lingeringListener{s.options.MetricsListener, s.linger}))
	})
	group.Go(func() error {
		<-groupCtx.Done()
		defer func() {
			s.linger.off.Store(true)
			_ = metricsServer.Close()
		}()
		if ctx.Err() == nil {
			// One of the servers has failed, and Run returns its error.
			s.linger.off.Store(true)
			return server.Close()
		}
		return s.drain(context.WithoutCancel(ctx), server)
	})
	s.options.Logger.InfoContext(ctx, "Started serving",
		"address", s.options.Listener.Addr().String(), "metricsAddress", s.options.MetricsListener.Addr().String())
	return group.Wait()
}

func (s *Server) drain(ctx context.Context, server *http.Server) error {
	s.stopping.Store(true)
	s.options.Logger.InfoContext(ctx, "Shutting down, still accepting requests", "delay", s.options.ShutdownDelay.String())
	<-time.After(s.options.ShutdownDelay)

	s.options.Logger.InfoContext(ctx, "Waiting for requests in flight", "timeout", s.options.ShutdownTimeout.String())
	ctx, cancel := context.WithTimeout(ctx, s.options.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.linger.off.Store(true)
		_ = server.Close()
		return fmt.Errorf("requests still in flight after %s: %w", s.options.ShutdownTimeout, err)
	}
	s.options.Logger.InfoContext(ctx, "Stopped")
	return nil
}

func (s *Server) metricsHandler() http.Handler {
	router := chi.NewRouter()
	router.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelError),
	}))
	if s.options.Debug != nil {
		router.Mount("/debug", s.options.Debug)
	}
	return router
}

func ignoreServerClosed(operation string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}
