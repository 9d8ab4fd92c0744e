package serviceaccount

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

const foundBody = `{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"namespace":"default","name":"app",
	"annotations":{"eks.amazonaws.com/role-arn":"` + appRole + `"}}}`

// notFoundBody is the response of API servers if a ServiceAccount does not exist.
const notFoundBody = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,
	"message":"serviceaccounts \"app\" not found","details":{"name":"app","kind":"serviceaccounts"}}`

func statusBody(reason string) string {
	return `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"` + reason + `","message":"status ` + reason + `"}`
}

// newResolver returns a Resolver for an API server with this handler.
func newResolver(t *testing.T, handler http.HandlerFunc, registry *prometheus.Registry) *Resolver {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := corev1client.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Client: client, Defaults: defaults, Lookup: objectcache.Live, Metrics: registry, ReadTimeout: 2 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
}

func respondWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestResolve_liveRead(t *testing.T) {
	var calls atomic.Int32
	tests := []struct {
		name    string
		handler http.HandlerFunc
		// results are the results of the attempts.
		results []string
		check   func(*identity.Identity, error) bool
	}{
		{
			"role", respondWith(http.StatusOK, foundBody),
			[]string{"role"},
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"no role", respondWith(http.StatusOK, `{"kind":"ServiceAccount","apiVersion":"v1"}`),
			[]string{"no_role"},
			func(got *identity.Identity, err error) bool { return err == nil && !got.IsSet() },
		},
		{
			"ServiceAccount not found", respondWith(http.StatusNotFound, notFoundBody),
			[]string{"not_found"},
			func(_ *identity.Identity, err error) bool {
				return errors.Is(err, identity.ErrServiceAccountNotFound)
			},
		},
		{
			"404 from another server", respondWith(http.StatusNotFound, `<h1>404 page not found</h1>`),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && !errors.Is(err, identity.ErrServiceAccountNotFound)
			},
		},
		{
			"no permission, not retried", respondWith(http.StatusForbidden, statusBody("Forbidden")),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && strings.Contains(err.Error(), "default/app") && strings.Contains(err.Error(), "Forbidden")
			},
		},
		{
			"API server recovers in time", func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) < 3 {
					respondWith(http.StatusInternalServerError, statusBody("InternalError"))(w, r)
					return
				}
				respondWith(http.StatusOK, foundBody)(w, r)
			},
			[]string{"error", "role"},
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"API server does not recover, its own error",
			respondWith(http.StatusInternalServerError, statusBody("InternalError")),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && strings.Contains(err.Error(), "InternalError")
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			got, err := newResolver(t, test.handler, registry).Resolve(t.Context(), app)
			if !test.check(got, err) {
				t.Errorf("got %+v, %v", got, err)
			}
			for _, result := range []string{"role", "no_role", "not_found", "error"} {
				got := counter(t, registry, "pod_identity_webhook_live_reads_total", result)
				if counted := got > 0; counted != slices.Contains(test.results, result) || result != "error" && got > 1 {
					t.Errorf("got %[2]v results %[1]s, want only %[3]v", result, got, test.results)
				}
			}
		})
	}
}

// TestResolve_cachedRole checks that a role in the cache is used only if the API server does not
// respond.
func TestResolve_cachedRole(t *testing.T) {
	const newRole = "arn:aws:iam::111122223333:role/new"
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
		cached  bool
	}{
		{"role changed", respondWith(http.StatusOK, strings.ReplaceAll(foundBody, appRole, newRole)), newRole, false},
		{"role removed", respondWith(http.StatusOK, `{"kind":"ServiceAccount","apiVersion":"v1"}`), "", false},
		{"API server fails", respondWith(http.StatusForbidden, statusBody("Forbidden")), appRole, true},
		{"404 from a proxy", respondWith(http.StatusNotFound, `<h1>404 page not found</h1>`), appRole, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			resolver := newResolver(t, test.handler, prometheus.NewRegistry())
			if err := resolver.store.Replace([]any{account("app", appRole)}, "1"); err != nil {
				t.Fatal(err)
			}
			got, err := resolver.Resolve(t.Context(), app)
			if err != nil || got.RoleARN != test.want || got.FromCache != test.cached {
				t.Errorf("got %+v, %v; want %q", got, err, test.want)
			}
		})
	}

	t.Run("ServiceAccount deleted", func(t *testing.T) {
		resolver := newResolver(t, respondWith(http.StatusNotFound, notFoundBody), prometheus.NewRegistry())
		if err := resolver.store.Replace([]any{account("app", appRole)}, "1"); err != nil {
			t.Fatal(err)
		}
		if got, err := resolver.Resolve(t.Context(), app); !errors.Is(err, identity.ErrServiceAccountNotFound) {
			t.Errorf("got %+v, %v", got, err)
		}
	})

	t.Run("no role in the cache, API server fails", func(t *testing.T) {
		resolver := newResolver(t, respondWith(http.StatusForbidden, statusBody("Forbidden")), prometheus.NewRegistry())
		if err := resolver.store.Replace(nil, "1"); err != nil {
			t.Fatal(err)
		}
		if got, err := resolver.Resolve(t.Context(), app); err != nil || got.IsSet() || !got.FromCache {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func counter(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == label {
				return metric.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, label)
	return 0
}
