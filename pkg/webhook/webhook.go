// Package webhook handles admission requests: it decodes and encodes AdmissionReviews, and
// reports reasons, warnings and metrics. Package inject decides about pods, and a Resolver
// provides identities. The server that runs the handlers limits requests and clients.
package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Memory is the memory that one request reserves. Errors have the type *httperror.Error.
type Memory interface {
	// Reserve reserves n bytes for the decoded body, and waits until they are free. They
	// replace the bytes of earlier calls. It returns an error if ctx is done first.
	Reserve(ctx context.Context, n int64) error
	// Grow increases the reservation to at least n bytes. It does not wait: it returns an
	// error if the bytes are not free.
	Grow(n int64) error
}

// Config is the configuration of a Webhook.
type Config struct {
	Mutate                 Handler[inject.Pod]
	ValidateServiceAccount Handler[ServiceAccount]
	// Memory returns the Memory of the request with the context; nil for no limits.
	Memory  func(context.Context) Memory
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Webhook handles admission requests.
type Webhook struct {
	config  Config
	metrics *metrics
	log     *ratelimitedlog.Logger
}

// New returns a Webhook. It panics if it is called twice with the same registerer.
func New(config Config) *Webhook {
	return &Webhook{
		config: config, metrics: newMetrics(config.Metrics), log: ratelimitedlog.New(config.Logger),
	}
}

// Handlers returns the handlers of POST requests, by path.
func (h *Webhook) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		"/mutate":                  serve(h, h.config.Mutate),
		"/validate-serviceaccount": serve(h, h.config.ValidateServiceAccount),
	}
}

// Rejected counts and logs a request that the server rejected with an error.
func (h *Webhook) Rejected(r *http.Request, took time.Duration, err *httperror.Error) {
	h.observe(r, took, Decision{}, err)
}

// Panicked counts a request whose handler panicked.
func (h *Webhook) Panicked() {
	h.metrics.panics.Inc()
	h.metrics.count(outcomeError, Panic)
}

// observe counts the result of a request, and logs it if it is an error.
func (h *Webhook) observe(r *http.Request, took time.Duration, answer Decision, err *httperror.Error) {
	h.metrics.observe(took, answer, err)
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if err.Status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.log.Log(r.Context(), level, "Admission request failed", err.Reason,
		"path", r.URL.Path, "client", r.RemoteAddr, "uid", answer.Response.UID,
		"reason", err.Reason, "status", err.Status, "error", err.Err)
}
