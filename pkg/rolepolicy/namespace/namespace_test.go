package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

const (
	appRole   = "arn:aws:iam::111122223333:role/app"
	otherRole = "arn:aws:iam::111122223333:role/other"
)

// policiesAgainst returns Policies with an API server that calls handler.
func policiesAgainst(t *testing.T, handler http.HandlerFunc, mode rolepolicy.Mode, registry *prometheus.Registry) *Policies {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := corev1client.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Client: client, Prefix: prefix, Mode: mode, Lookup: objectcache.Live, Metrics: registry, ReadTimeout: 2 * time.Second,
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

func found(annotations string) http.HandlerFunc {
	return respondWith(http.StatusOK, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"team-a","annotations":`+annotations+`}}`)
}

func failed(status int, reason string) http.HandlerFunc {
	return respondWith(status, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+`","message":"it is `+reason+`","details":{"name":"team-a","kind":"namespaces"}}`)
}

func permitted(err error) bool { return err == nil }

func denied(err error) bool {
	_, ok := errors.AsType[*rolepolicy.DeniedError](err)
	return ok
}

// unknown returns a function that reports whether err is an error other than DeniedError
// that contains the namespace and the cause.
func unknown(cause string) func(error) bool {
	return func(err error) bool {
		return err != nil && !denied(err) && strings.Contains(err.Error(), "team-a") && strings.Contains(err.Error(), cause)
	}
}

func TestPermitted_liveRead(t *testing.T) {
	var calls atomic.Int32
	tests := []struct {
		name    string
		handler http.HandlerFunc
		mode    rolepolicy.Mode
		result  string
		check   func(error) bool
		// retried reports whether an attempt fails before that result.
		retried bool
	}{
		{"a policy that permits the role", found(`{"` + ours + `":"app"}`), rolepolicy.On, "policy", permitted, false},
		{"a policy that does not permit the role", found(`{"` + ours + `":"other"}`), rolepolicy.On, "policy", denied, false},
		{"no policy", found(`{"other":"annotation"}`), rolepolicy.On, "no_policy", permitted, false},
		{"no policy where one is required", found(`{"other":"annotation"}`), rolepolicy.Require, "no_policy", denied, false},
		{"a namespace that does not exist", failed(http.StatusNotFound, "NotFound"), rolepolicy.On, "error", unknown("NotFound"), false},
		{"a 404 of another path", respondWith(http.StatusNotFound, `<h1>404 page not found</h1>`), rolepolicy.On, "error", unknown("could not find"), true},
		{"no permission to get it, not retried", failed(http.StatusForbidden, "Forbidden"), rolepolicy.On, "error", unknown("Forbidden"), false},
		{
			"an API server that recovers in time", func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) < 3 {
					failed(http.StatusInternalServerError, "InternalError")(w, r)
					return
				}
				found(`{"`+kiam+`":"other"}`)(w, r)
			}, rolepolicy.On, "policy", denied, true,
		},
		{
			"an API server that does not recover, with its error and not the deadline's",
			failed(http.StatusInternalServerError, "InternalError"), rolepolicy.On, "error", unknown("InternalError"), true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			_, err := policiesAgainst(t, test.handler, test.mode, registry).Permitted(t.Context(), "team-a", []string{appRole})
			if !test.check(err) {
				t.Errorf("got %v", err)
			}
			for _, result := range []string{"policy", "no_policy", "error"} {
				got := metric(t, registry, "pod_identity_webhook_namespace_reads_total", result)
				// Some errors are retried, so they can be counted several times.
				if counted := got > 0; counted != (result == test.result || result == "error" && test.retried) || result != "error" && got > 1 {
					t.Errorf("result %s: got %v, want only %s counted", result, got, test.result)
				}
			}
		})
	}
}

func TestPermitted_quorumRead(t *testing.T) {
	var query atomic.Pointer[string]
	policies := policiesAgainst(t, func(w http.ResponseWriter, r *http.Request) {
		query.Store(new(r.Method + " " + r.URL.String()))
		found(`{}`)(w, r)
	}, rolepolicy.On, prometheus.NewRegistry())
	if _, err := policies.Permitted(t.Context(), "team-a", []string{appRole}); err != nil {
		t.Fatal(err)
	}
	if got := *query.Load(); got != "GET /api/v1/namespaces/team-a" {
		t.Errorf("got request %s, want GET /api/v1/namespaces/team-a", got)
	}
}

// TestPermitted_cachedPolicy checks that the cache is used only if the live read fails.
func TestPermitted_cachedPolicy(t *testing.T) {
	forbidden := failed(http.StatusForbidden, "Forbidden")
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		roles   []string
		check   func(error) bool
		cached  bool
	}{
		{"the permission was withdrawn", found(`{"` + ours + `":"other"}`), []string{appRole}, denied, false},
		{"the policy was removed", found(`{}`), []string{otherRole}, permitted, false},
		{"one of two roles is not permitted", found(`{"` + ours + `":"app"}`), []string{appRole, otherRole}, denied, false},
		{"the API server fails, and the cache permits", forbidden, []string{appRole}, permitted, true},
		{"the API server fails, and the cache denies", forbidden, []string{otherRole}, denied, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			policies := policiesAgainst(t, test.handler, rolepolicy.On, prometheus.NewRegistry())
			if err := policies.store.Replace([]any{namespaceWith("team-a", ours, "app")}, "1"); err != nil {
				t.Fatal(err)
			}
			fromCache, err := policies.Permitted(t.Context(), "team-a", test.roles)
			if !test.check(err) || fromCache != test.cached {
				t.Errorf("got fromCache %t, %v, want fromCache %t", fromCache, err, test.cached)
			}
		})
	}
}

func TestPermitted_contextCanceled(t *testing.T) {
	release := make(chan struct{})
	policies := policiesAgainst(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		found(`{}`)(w, r)
	}, rolepolicy.On, prometheus.NewRegistry())
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := policies.Permitted(soon, "team-a", []string{appRole}); !errors.Is(err, context.DeadlineExceeded) || denied(err) {
		t.Errorf("got %v", err)
	}
	close(release)
	policies.lookup.Wait()
}

// TestRun_watch has an API server that first responds with HTTP 403. Then it lists a
// namespace with a policy, and then sends an event that changes the policy.
func TestRun_watch(t *testing.T) {
	var forbidden atomic.Bool
	change := make(chan struct{})
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !forbidden.Swap(true):
			failed(http.StatusForbidden, "Forbidden")(w, r)
		case r.URL.Path == "/api/v1/namespaces/team-a":
			failed(http.StatusForbidden, "Forbidden")(w, r) // so that the cache is used
		case r.URL.Path != "/api/v1/namespaces":
			t.Errorf("got request for %s", r.URL)
		case r.URL.Query().Get("watch") == "":
			_ = json.NewEncoder(w).Encode(&corev1.NamespaceList{
				TypeMeta: metav1.TypeMeta{Kind: "NamespaceList", APIVersion: "v1"},
				ListMeta: metav1.ListMeta{ResourceVersion: "1"},
				Items:    []corev1.Namespace{*namespaceWith("team-a", ours, "app"), *namespaceWith("team-b")},
			})
		case r.URL.Query().Get("sendInitialEvents") == "true":
			failed(http.StatusUnprocessableEntity, "Invalid")(w, r) // the reflector falls back to a list
		default:
			w.(http.Flusher).Flush()
			select {
			case <-change:
			case <-r.Context().Done():
				return
			}
			changed := namespaceWith("team-a", ours, "other")
			changed.TypeMeta = metav1.TypeMeta{Kind: "Namespace", APIVersion: "v1"}
			changed.ResourceVersion = "2"
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": changed})
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}
	registry := prometheus.NewRegistry()
	policies := policiesAgainst(t, serve, rolepolicy.On, registry)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		policies.Run(ctx)
	}()

	eventually(t, "the list", func() bool { return policies.Synced() == nil })
	if _, err := policies.Permitted(ctx, "team-a", []string{appRole}); err != nil {
		t.Errorf("after the list: %v", err)
	}
	if got := policies.store.Len(); got != 1 {
		t.Errorf("got %d policies in the cache, want 1", got)
	}
	if got := metric(t, registry, "pod_identity_webhook_namespace_watch_failures_total", ""); got < 1 {
		t.Errorf("got %v watch failures, want at least 1", got)
	}
	close(change)
	eventually(t, "the change", func() bool {
		_, err := policies.Permitted(ctx, "team-a", []string{appRole})
		return denied(err)
	})
	cancel()
	<-done
}

// eventually waits until condition is true. It fails the test after 20 seconds.
func eventually(t *testing.T, name string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not true after 20s", name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
