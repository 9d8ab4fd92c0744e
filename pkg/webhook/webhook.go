// Package webhook owns admission: AdmissionReviews in and out, reasons, warnings and
// metrics. It decides nothing about pods, and does not know where identities come from.
// The server that it runs in limits requests and clients.
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

// Memory is the memory that one request has reserved. The errors are of type
// *httperror.Error.
type Memory interface {
	// Reserve waits until n bytes are free, for what a body is decoded to. They replace
	// those of earlier calls.
	Reserve(ctx context.Context, n int64) error
	// Grow makes the reservation at least n bytes. It does not wait.
	Grow(n int64) error
}

// Config is what a Webhook needs.
type Config struct {
	Mutate                 Handler[inject.Pod]
	ValidateServiceAccount Handler[ServiceAccount]
	// Memory returns that of a request by its context; nil for no limits.
	Memory  func(context.Context) Memory
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Webhook answers admission requests.
type Webhook struct {
	config  Config
	metrics *metrics
	log     *ratelimitedlog.Logger
}

// New returns a Webhook. It may be made once for a registerer.
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

// Rejected counts and logs a request that was answered with an error.
func (h *Webhook) Rejected(r *http.Request, took time.Duration, err *httperror.Error) {
	h.observe(r, took, Decision{}, err)
}

// Panicked counts a request that ended in a panic.
func (h *Webhook) Panicked() {
	h.metrics.panics.Inc()
	h.metrics.count(outcomeError, Panic)
}

// observe counts and, for failures, logs what became of a request.
func (h *Webhook) observe(r *http.Request, took time.Duration, answer Decision, err *httperror.Error) {
	h.metrics.observe(took, answer, err)
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if err.Status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.log.Log(r.Context(), level, "request not answered", err.Reason,
		"path", r.URL.Path, "client", r.RemoteAddr, "uid", answer.Response.UID,
		"reason", err.Reason, "status", err.Status, "error", err.Err)
}
