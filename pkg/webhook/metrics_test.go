package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// testServer is the server of a Webhook, with the registry of its metrics.
type testServer struct {
	*httpserver.Server
	registry *prometheus.Registry
}

func newServer(resolver resolverFunc, log slog.Handler, change ...func(*webhook.Config)) testServer {
	logger, registry := slog.New(log), prometheus.NewRegistry()
	config := webhook.Config{
		Mutate: webhook.NewMutator(webhook.MutateConfig{
			Resolver: resolver, Settings: settings, Logger: logger, Metrics: registry,
		}).Handle,
		Memory:  func(ctx context.Context) webhook.Memory { return httpserver.ReservationFrom(ctx) },
		Logger:  logger,
		Metrics: registry,
	}
	for _, f := range change {
		f(&config)
	}
	admission := webhook.New(config)
	return testServer{httpserver.New(httpserver.Options{
		Handlers: admission.Handlers(), OnReject: admission.Rejected, OnPanic: admission.Panicked, Logger: logger, Registry: registry,
	}), registry}
}

func scrapeOf(t *testing.T, server testServer) string {
	t.Helper()
	response := httptest.NewRecorder()
	promhttp.HandlerFor(server.registry, promhttp.HandlerOpts{}).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return response.Body.String()
}

func TestMetrics_admissions(t *testing.T) {
	server := newServer(func(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
		switch name.Name {
		case "app":
			return role(ctx, name)
		case "broken":
			return nil, errors.New("connection refused")
		}
		return noRole(ctx, name)
	}, slog.DiscardHandler)
	handler := server.Handler()
	for _, serviceAccount := range []string{"app", "app", "other", "broken"} {
		pod := smallPod()
		pod.Spec.ServiceAccountName = serviceAccount
		post(handler, "application/json", bytes.NewReader(reviewOf(pod)))
	}
	post(handler, "application/json", strings.NewReader("{"))
	scrape := scrapeOf(t, server)
	for _, want := range []string{
		`pod_identity_webhook_admissions_total{outcome="mutated",reason="injected"} 2`,
		`pod_identity_webhook_admissions_total{outcome="unchanged",reason="no_role"} 1`,
		`pod_identity_webhook_admissions_total{outcome="error",reason="identity_unknown"} 1`,
		`pod_identity_webhook_admissions_total{outcome="error",reason="bad_request"} 1`,
		`pod_identity_webhook_admission_duration_seconds_count 5`,
		`pod_identity_webhook_admission_duration_seconds_bucket{le="0.0001"}`,
		`pod_identity_webhook_admission_duration_seconds_bucket{le="10"} 5`,
	} {
		if !strings.Contains(scrape, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
