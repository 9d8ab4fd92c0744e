package serviceaccount

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

const foundBody = `{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"namespace":"default","name":"app",
	"annotations":{"eks.amazonaws.com/role-arn":"` + appRole + `"}}}`

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
	return New(Config{Client: client, Defaults: defaults, Lookup: LookupLive, Metrics: registry, ReadTimeout: 2 * time.Second})
}

func answerWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestResolveReadsWhatIsNotKnown(t *testing.T) {
	var calls atomic.Int32
	tests := []struct {
		name   string
		answer http.HandlerFunc
		result string
		check  func(*identity.Identity, error) bool
	}{
		{
			"a ServiceAccount with a role", answerWith(http.StatusOK, foundBody), "role",
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"a ServiceAccount without a role", answerWith(http.StatusOK, `{"kind":"ServiceAccount","apiVersion":"v1"}`), "no_role",
			func(got *identity.Identity, err error) bool { return err == nil && !got.Granted() },
		},
		{
			"no such ServiceAccount", answerWith(http.StatusNotFound, statusBody("NotFound")), "not_found",
			func(_ *identity.Identity, err error) bool {
				return errors.Is(err, identity.ErrServiceAccountNotFound)
			},
		},
		{
			"no right to read it: an error at once", answerWith(http.StatusForbidden, statusBody("Forbidden")), "error",
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
			}, "role",
			func(got *identity.Identity, err error) bool { return err == nil && got.RoleARN == appRole },
		},
		{
			"an API server that does not recover: its own error, not the deadline's",
			answerWith(http.StatusInternalServerError, statusBody("InternalError")), "error",
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
				want := 0.0
				if result == test.result {
					want = 1
				}
				if got := counter(t, registry, "pod_identity_webhook_live_reads_total", result); got != want {
					t.Errorf("result %s counted %v times, want %v", result, got, want)
				}
			}
		})
	}
}

func TestResolveAnswersAKnownRoleWithoutARead(t *testing.T) {
	resolver := resolverAgainst(t, func(http.ResponseWriter, *http.Request) { t.Error("read from the API server") }, prometheus.NewRegistry())
	if err := resolver.store.Add(account("app", appRole)); err != nil {
		t.Fatal(err)
	}
	if got, err := resolver.Resolve(t.Context(), app); err != nil || got.RoleARN != appRole {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestResolveCachedWaitsUntilItKnows(t *testing.T) {
	resolver := resolverAgainst(t, func(http.ResponseWriter, *http.Request) { t.Error("read from the API server") }, prometheus.NewRegistry())
	resolver.lookup = LookupCached

	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := resolver.Resolve(soon, app); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errNotSynced) {
		t.Errorf("before the sync: got %v", err)
	}
	if err := resolver.store.Replace(nil, "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := resolver.Resolve(t.Context(), app); err != nil || got.Granted() {
		t.Errorf("after the sync: got %+v, %v", got, err)
	}
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
