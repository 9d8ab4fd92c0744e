// Package webhook owns the HTTP side: AdmissionReviews in and out, limits,
// health, metrics, and an orderly end. It decides nothing about pods, and does
// not know where identities and certificates come from.
package webhook

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

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// idleTimeout is longer than an API server keeps a connection that it does not
// use.
const idleTimeout = 2 * time.Minute

// Config is what a Server needs.
type Config struct {
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
	Mutate   Handler[inject.Pod]
	// ValidateServiceAccount answers /validate-serviceaccount.
	ValidateServiceAccount Handler[ServiceAccount]
	// MinTLSVersion and CipherSuites are as in tls.Config; 0 is TLS 1.2, and nil
	// is Go's choice.
	MinTLSVersion uint16
	CipherSuites  []uint16
	// Clients may send admission requests; anyone may send probes.
	Clients Clients
	// Debug answers under /debug on the metrics port, to requests from this
	// machine only; nil for nothing.
	Debug http.Handler
	// ShutdownDelay is how long requests are still taken after the server has
	// said that it is not ready, for the cluster to send them elsewhere.
	// ShutdownTimeout is how long the requests then under way may take.
	ShutdownDelay, ShutdownTimeout time.Duration

	Logger   *slog.Logger
	Registry *prometheus.Registry
}

// Server is the webhook's HTTP server.
type Server struct {
	config      Config
	metrics     *metrics
	connections *connections
	bodies      *bodies
	linger      *linger
	log         *ratelimitedlog.Logger
	stopping    atomic.Bool
}

// New returns a Server that serves once Run is called.
func New(config Config) *Server {
	log := ratelimitedlog.New(config.Logger)
	return &Server{
		config: config, metrics: newMetrics(config.Registry), log: log, bodies: newBodies(), linger: new(linger),
		connections: newConnections(maxConnections, log, config.Registry),
	}
}

// Handler returns the routes of the TLS port.
func (s *Server) Handler() http.Handler {
	router := chi.NewRouter()
	router.Use(s.recoverPanics, s.letGo, limitBody)
	admissions := router.With(s.onlyFromTheAPIServer)
	admissions.Method(http.MethodPost, "/mutate", serve(s.config.Mutate, s.bodies, s.observe))
	admissions.Method(http.MethodPost, "/validate-serviceaccount", serve(s.config.ValidateServiceAccount, s.bodies, s.observe))
	router.Get("/healthz", s.healthz)
	router.Get("/readyz", s.readyz)
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("pod-identity-webhook: %s does not take %s", r.URL.Path, r.Method), http.StatusMethodNotAllowed)
	})
	return router
}

// observe counts and, for failures, logs what became of a request.
func (s *Server) observe(r *http.Request, took time.Duration, answer Answer, err *Error) {
	s.metrics.observe(took, answer, err)
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if err.Status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.log.Log(r.Context(), level, "request not answered", string(err.Reason),
		"path", r.URL.Path, "client", r.RemoteAddr, "uid", answer.Response.UID,
		"reason", err.Reason, "status", err.Status, "error", err.Err)
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
			s.metrics.panics.Inc()
			s.metrics.count(outcomeError, Panic)
			// The panic's value may quote the request; its type and the stack
			// tell a developer enough.
			s.log.Log(r.Context(), slog.LevelError, "panic in handler, please report it", string(Panic),
				"path", r.URL.Path, "panic", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
			http.Error(w, "pod-identity-webhook: internal error, see the webhook's log", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}

// letGo has the client take another connection for its next request once the
// server is stopping. It is told with the answer: when the server closes the
// connection by itself, a request may be on its way.
func (s *Server) letGo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// limitBody bounds the time in which a body must arrive, also if nothing reads the
// body: net/http waits for the rest of it after the response.
func limitBody(next http.Handler) http.Handler {
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
	for _, check := range s.config.Degraded {
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
	for _, check := range s.config.Ready {
		amiss = append(amiss, check())
	}
	return errors.Join(amiss...)
}

// Run serves until ctx is done and then drains: first it is not ready but
// still answers, for ShutdownDelay; then it lets the requests under way end,
// for ShutdownTimeout at the longest. It returns nil after a full drain.
func (s *Server) Run(ctx context.Context) error {
	tlsConfig := &tls.Config{
		MinVersion:     cmp.Or(s.config.MinTLSVersion, tls.VersionTLS12),
		CipherSuites:   s.config.CipherSuites,
		GetCertificate: s.config.GetCertificate,
	}
	if s.config.Clients.Roots != nil {
		tlsConfig.ClientAuth = tls.RequestClientCert // see onlyFromTheAPIServer
		tlsConfig.VerifyConnection = limitChain
	}
	server := &http.Server{
		Handler:     s.Handler(),
		TLSConfig:   tlsConfig,
		ConnContext: s.connections.opened,
		ConnState:   s.connections.changed,
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
		ErrorLog:       slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	server.Protocols.SetHTTP1(true)
	metricsServer := &http.Server{
		Handler:           s.metricsHandler(),
		ConnState:         lingerUnlessIdle,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       maxTimeout,
		WriteTimeout:      maxTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return unlessClosed("serve admission requests", server.ServeTLS(boundedListener{s.config.Listener, s.linger}, "", ""))
	})
	group.Go(func() error {
		return unlessClosed("serve metrics", metricsServer.Serve(lingeringListener{s.config.MetricsListener, s.linger}))
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
	s.config.Logger.InfoContext(ctx, "serving",
		"address", s.config.Listener.Addr().String(), "metricsAddress", s.config.MetricsListener.Addr().String())
	return group.Wait()
}

func (s *Server) drain(ctx context.Context, server *http.Server) error {
	s.stopping.Store(true)
	s.config.Logger.InfoContext(ctx, "stopping: not ready, still answering", "delay", s.config.ShutdownDelay)
	<-time.After(s.config.ShutdownDelay)

	s.config.Logger.InfoContext(ctx, "stopping: finishing the requests under way", "timeout", s.config.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(ctx, s.config.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.linger.off.Store(true)
		_ = server.Close()
		return fmt.Errorf("requests were still under way after %s: %w", s.config.ShutdownTimeout, err)
	}
	s.config.Logger.InfoContext(ctx, "stopped")
	return nil
}

func (s *Server) metricsHandler() http.Handler {
	router := chi.NewRouter()
	router.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.config.Registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelError),
	}))
	if s.config.Debug != nil {
		router.Mount("/debug", onlyFromThisMachine(s.config.Debug))
	}
	return router
}

func unlessClosed(what string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
