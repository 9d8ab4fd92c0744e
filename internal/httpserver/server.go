// Package httpserver serves requests of API servers over TLS: it bounds connections,
// bodies, time and memory, checks client certificates, and ends in order. It knows
// nothing of what the requests are about.
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

// idleTimeout is longer than an API server keeps a connection that it does not
// use.
const idleTimeout = 2 * time.Minute

// Registry registers metrics, and collects them for /metrics.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// Options are what a Server needs.
type Options struct {
	// Listener takes admission requests and probes, over TLS; MetricsListener
	// takes scrapes, in the clear. The Server closes both.
	Listener, MetricsListener net.Listener
	// GetCertificate returns the serving certificate of the moment.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready lists what must be true before pods are sent here; each returns
	// nil or says what is amiss.
	Ready []func() error
	// Degraded lists what operators should know although the server can serve; each
	// returns nil or says what it is. /readyz prints it after "ok".
	Degraded []func() error
	// Handlers answer POST requests, by path, from Clients. The context of a request has
	// its Reservation.
	Handlers map[string]http.Handler
	// OnReject is called for each request that a Handler did not get, after the response.
	// OnPanic is called for each Handler that panicked. Both can be nil.
	OnReject func(r *http.Request, took time.Duration, err *httperror.Error)
	OnPanic  func()
	// MinTLSVersion and CipherSuites are as in tls.Config; 0 is TLS 1.2, and nil
	// is Go's choice.
	MinTLSVersion uint16
	CipherSuites  []uint16
	// ClientAuth can send requests to Handlers; anyone can send probes.
	ClientAuth ClientAuth
	// Debug answers under /debug on the metrics port; nil for nothing.
	Debug http.Handler
	// ShutdownDelay is how long requests are still taken after the server has
	// said that it is not ready, for the cluster to send them elsewhere.
	// ShutdownTimeout is how long the requests then under way may take.
	ShutdownDelay, ShutdownTimeout time.Duration

	Logger   *slog.Logger
	Registry Registry
}

// Server is the webhook's HTTP server.
type Server struct {
	options     Options
	connTracker *connTracker
	memory      *memoryLimiter
	linger      *linger
	log         *ratelimitedlog.Logger
	stopping    atomic.Bool
}

// New returns a Server that serves once Run is called.
func New(options Options) *Server {
	log := ratelimitedlog.New(options.Logger)
	return &Server{
		options: options, log: log, memory: newMemoryLimiter(), linger: new(linger),
		connTracker: newConnTracker(maxConnections, log, options.Registry),
	}
}

// Handler returns the routes of the TLS port.
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
		http.Error(w, fmt.Sprintf("pod-identity-webhook: %s does not take %s", r.URL.Path, r.Method), http.StatusMethodNotAllowed)
	})
	return router
}

// reject answers a request with an error.
func (s *Server) reject(w http.ResponseWriter, r *http.Request, took time.Duration, err *httperror.Error) {
	err.Write(w)
	if s.options.OnReject != nil {
		s.options.OnReject(r, took, err)
	}
}

// recoverPanics turns a panic into a 500, so that the failurePolicy decides
// about the pod and the other requests of the connection go on.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			recovered := recover()
			if recovered == nil {
				return
			}
			if recovered == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(recovered)
			}
			if s.options.OnPanic != nil {
				s.options.OnPanic()
			}
			// The panic's value may quote the request; its type and the stack
			// tell a developer enough.
			s.log.Log(r.Context(), slog.LevelError, "panic in handler, please report it", Panic,
				"path", r.URL.Path, "panic", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
			http.Error(w, "pod-identity-webhook: internal error, see the webhook's log", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}

// closeWhenDraining has the client take another connection for its next request once the
// server is stopping. It is told with the answer: when the server closes the
// connection by itself, a request may be on its way.
func (s *Server) closeWhenDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// setBodyDeadline bounds the time in which a body must arrive, also if nothing reads the
// body: net/http waits for the rest of it after the response.
func setBodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Deadlines cannot be set where there is no connection, as in unit tests.
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
	var amiss []error
	for _, check := range s.options.Ready {
		amiss = append(amiss, check())
	}
	return errors.Join(amiss...)
}

// Run serves until ctx is done and then drains: first it is not ready but
// still answers, for ShutdownDelay; then it lets the requests under way end,
// for ShutdownTimeout at the longest. It returns nil after a full drain.
func (s *Server) Run(ctx context.Context) error {
	tlsConfig := &tls.Config{
		MinVersion:     cmp.Or(s.options.MinTLSVersion, tls.VersionTLS12),
		CipherSuites:   s.options.CipherSuites,
		GetCertificate: s.options.GetCertificate,
	}
	if s.options.ClientAuth.Roots != nil {
		tlsConfig.ClientAuth = tls.RequestClientCert // see onlyFromTheAPIServer
		tlsConfig.VerifyConnection = checkChainSize
	}
	server := &http.Server{
		Handler:     s.Handler(),
		TLSConfig:   tlsConfig,
		ConnContext: s.connTracker.connContext,
		ConnState:   s.connTracker.connState,
		// API servers speak HTTP/1.1 to a webhook behind a Service
		// (k8s.io/apiserver/pkg/util/webhook/client.go). HTTP/2 would only add to what
		// an attacker can do.
		Protocols: new(http.Protocols),
		// API servers keep connections to spare, some of which they have not used
		// yet. They close them after 90 s of idleness (SetTransportDefaults in
		// k8s.io/apimachinery/pkg/util/net), before this end does, so that no
		// request meets a closing connection. A first header has as long as a
		// connection may idle; who wastes that has one of maxConnections.
		ReadHeaderTimeout: idleTimeout,
		IdleTimeout:       idleTimeout,
		// The TLS handshake has as long as this; a body has bodyTimeout.
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
			// One of the two has failed, and Run tells of it.
			s.linger.off.Store(true)
			return server.Close()
		}
		return s.drain(context.WithoutCancel(ctx), server)
	})
	s.options.Logger.InfoContext(ctx, "serving",
		"address", s.options.Listener.Addr().String(), "metricsAddress", s.options.MetricsListener.Addr().String())
	return group.Wait()
}

func (s *Server) drain(ctx context.Context, server *http.Server) error {
	s.stopping.Store(true)
	s.options.Logger.InfoContext(ctx, "stopping: not ready, still answering", "delay", s.options.ShutdownDelay)
	<-time.After(s.options.ShutdownDelay)

	s.options.Logger.InfoContext(ctx, "stopping: finishing the requests under way", "timeout", s.options.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(ctx, s.options.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.linger.off.Store(true)
		_ = server.Close()
		return fmt.Errorf("requests were still under way after %s: %w", s.options.ShutdownTimeout, err)
	}
	s.options.Logger.InfoContext(ctx, "stopped")
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

func ignoreServerClosed(what string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
