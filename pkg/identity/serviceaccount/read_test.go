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

// notFoundBody is what API servers respond when a ServiceAccount does not exist.
const notFoundBody = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,
	"message":"serviceaccounts \"app\" not found","details":{"name":"app","kind":"serviceaccounts"}}`

func statusBody(reason string) string {
	return `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"` + reason + `","message":"it is ` + reason + `"}`
}

// resolverAgainst returns a Resolver whose API server is answer.
func resolverAgainst(t *testing.T, answer http.HandlerFunc, registry *prometheus.Registry) *Resolver {
	t.Helper()
	server := httptest.NewServer(answer)
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

func answerWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestResolve_liveRead(t *testing.T) {
	var calls atomic.Int32
	tests := []struct {
		name   string
		answer http.HandlerFunc
		// results are those of the attempts.
		results []string
		check   func(*identity.Identity, error) bool
	}{
		{
			"a ServiceAccount with a role", answerWith(http.StatusOK, foundBody),
			[]string{"role"},
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"a ServiceAccount without a role", answerWith(http.StatusOK, `{"kind":"ServiceAccount","apiVersion":"v1"}`),
			[]string{"no_role"},
			func(got *identity.Identity, err error) bool { return err == nil && !got.IsSet() },
		},
		{
			"no such ServiceAccount", answerWith(http.StatusNotFound, notFoundBody),
			[]string{"not_found"},
			func(_ *identity.Identity, err error) bool {
				return errors.Is(err, identity.ErrServiceAccountNotFound)
			},
		},
		{
			"a 404 about something else", answerWith(http.StatusNotFound, `<h1>404 page not found</h1>`),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && !errors.Is(err, identity.ErrServiceAccountNotFound)
			},
		},
		{
			"no right to read it: an error at once", answerWith(http.StatusForbidden, statusBody("Forbidden")),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && strings.Contains(err.Error(), "default/app") && strings.Contains(err.Error(), "Forbidden")
			},
		},
		{
			"an API server that recovers in time", func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) < 3 {
					answerWith(http.StatusInternalServerError, statusBody("InternalError"))(w, r)
					return
				}
				answerWith(http.StatusOK, foundBody)(w, r)
			},
			[]string{"error", "role"},
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"an API server that does not recover: its own error, not the deadline's",
			answerWith(http.StatusInternalServerError, statusBody("InternalError")),
			[]string{"error"},
			func(_ *identity.Identity, err error) bool {
				return err != nil && strings.Contains(err.Error(), "InternalError")
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			got, err := resolverAgainst(t, test.answer, registry).Resolve(t.Context(), app)
			if !test.check(got, err) {
				t.Errorf("got %+v, %v", got, err)
			}
			for _, result := range []string{"role", "no_role", "not_found", "error"} {
				got := counter(t, registry, "pod_identity_webhook_live_reads_total", result)
				if counted := got > 0; counted != slices.Contains(test.results, result) || result != "error" && got > 1 {
					t.Errorf("result %s counted %v times, want only %v", result, got, test.results)
				}
			}
		})
	}
}

// TestResolve_cachedRole shows that a role in the cache decides only if the API
// server gives no answer.
func TestResolve_cachedRole(t *testing.T) {
	const newRole = "arn:aws:iam::111122223333:role/new"
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		cached bool
	}{
		{"the role was changed", answerWith(http.StatusOK, strings.ReplaceAll(foundBody, appRole, newRole)), newRole, false},
		{"the role was removed", answerWith(http.StatusOK, `{"kind":"ServiceAccount","apiVersion":"v1"}`), "", false},
		{"the API server fails", answerWith(http.StatusForbidden, statusBody("Forbidden")), appRole, true},
		{"a proxy does not find the API server", answerWith(http.StatusNotFound, `<h1>404 page not found</h1>`), appRole, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			resolver := resolverAgainst(t, test.answer, prometheus.NewRegistry())
			if err := resolver.store.Replace([]any{account("app", appRole)}, "1"); err != nil {
				t.Fatal(err)
			}
			got, err := resolver.Resolve(t.Context(), app)
			if err != nil || got.RoleARN != test.want || got.FromCache != test.cached {
				t.Errorf("got %+v, %v; want %q", got, err, test.want)
			}
		})
	}

	t.Run("the ServiceAccount was deleted", func(t *testing.T) {
		resolver := resolverAgainst(t, answerWith(http.StatusNotFound, notFoundBody), prometheus.NewRegistry())
		if err := resolver.store.Replace([]any{account("app", appRole)}, "1"); err != nil {
			t.Fatal(err)
		}
		if got, err := resolver.Resolve(t.Context(), app); !errors.Is(err, identity.ErrServiceAccountNotFound) {
			t.Errorf("got %+v, %v", got, err)
		}
	})

	t.Run("the cache has no role, and the API server fails", func(t *testing.T) {
		resolver := resolverAgainst(t, answerWith(http.StatusForbidden, statusBody("Forbidden")), prometheus.NewRegistry())
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
