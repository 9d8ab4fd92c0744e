package objectcache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

var app = types.NamespacedName{Namespace: "default", Name: "app"}

// The values that the API server and the watch have of an object.
const live, cached = "live", "cached"

// newLookup returns a Lookup that reads with get, with a healthy watch.
func newLookup(mode Mode, log *bytes.Buffer, get func(context.Context) (string, error)) *Lookup[string] {
	health := NewHealth()
	health.Replaced()
	return NewLookup(LookupConfig[string]{
		Resource:     "serviceaccounts",
		Mode:         mode,
		GetWithRetry: func(ctx context.Context, _ types.NamespacedName) (string, error) { return get(ctx) },
		Cached:       func(types.NamespacedName) string { return cached },
		Health:       health,
		ReadTimeout:  2500 * time.Millisecond,
		Logger:       slog.New(slog.NewJSONHandler(log, nil)),
		Metrics:      prometheus.NewRegistry(),
	})
}

func TestLookup_Get(t *testing.T) {
	resource := corev1.Resource("serviceaccounts")
	succeeds := func(context.Context) (string, error) { return live, nil }
	hangs := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	fails := func(err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return "", err }
	}
	forbidden := fails(apierrors.NewForbidden(resource, "app", errors.New("no permission")))
	notFound := fails(apierrors.NewNotFound(resource, "app"))
	// The error of client-go for a response that is not from the API server.
	noPage := fails(apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "app", "404 page not found", 0, true))
	broken := fails(apierrors.NewInternalError(errors.New("etcd is gone")))
	healthy := func(*Health) {}
	unhealthy := func(h *Health) { h.failed(errors.New("refused")) }
	silent := func(*Health) { time.Sleep(maxSilence + time.Second) } // in synctest's time

	for name, test := range map[string]struct {
		mode  Mode
		get   func(context.Context) (string, error)
		watch func(*Health)
		// want is the value; empty for an error with all of errs.
		want string
		errs []string
		// takes is the maximum time of a request that has 9 s left.
		takes time.Duration
		// falls reports whether the result counts as a fallback.
		falls bool
	}{
		"live: the read succeeds":                              {Live, succeeds, healthy, live, nil, 0, false},
		"live: the read succeeds, and the watch fails":         {Live, succeeds, unhealthy, live, nil, 0, false},
		"live: the read succeeds, and the watch is silent":     {Live, succeeds, silent, live, nil, 0, false},
		"live: no such object, although it is cached":          {Live, notFound, healthy, "", []string{"not found"}, 0, false},
		"live: a 404 that is not the API server's":             {Live, noPage, healthy, cached, nil, 3 * time.Second, true},
		"live: such a 404, and the watch fails":                {Live, noPage, unhealthy, "", []string{"could not find", "refused"}, 3 * time.Second, false},
		"live: reads are forbidden":                            {Live, forbidden, healthy, cached, nil, 0, true},
		"live: reads fail":                                     {Live, broken, healthy, cached, nil, 3 * time.Second, true},
		"live: reads hang":                                     {Live, hangs, healthy, cached, nil, 3 * time.Second, true},
		"live: reads are forbidden, and the watch fails":       {Live, forbidden, unhealthy, "", []string{"no permission", "refused"}, 0, false},
		"live: reads fail, and the watch is silent":            {Live, broken, silent, "", []string{"etcd is gone", "nothing for"}, 3 * time.Second, false},
		"live: reads hang, and the watch fails":                {Live, hangs, unhealthy, "", []string{"deadline", "refused"}, 3 * time.Second, false},
		"cached: no read":                                      {Cached, broken, healthy, cached, nil, 0, false},
		"cached: a read if the watch fails":                    {Cached, succeeds, unhealthy, live, nil, 0, false},
		"cached: a read if the watch is silent":                {Cached, succeeds, silent, live, nil, 0, false},
		"cached: reads are forbidden, and the watch is silent": {Cached, forbidden, silent, "", []string{"no permission", "nothing for"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				lookup := newLookup(test.mode, &log, test.get)
				test.watch(lookup.config.Health)
				ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
				defer cancel()
				start := time.Now()
				value, fromCache, err := lookup.Get(ctx, app)
				if took := time.Since(start); took > test.takes {
					t.Errorf("took %s, want at most %s", took, test.takes)
				}
				if test.want != "" && (err != nil || value != test.want || fromCache != (test.want == cached)) {
					t.Errorf("got %q, %t, %v; want %q", value, fromCache, err, test.want)
				}
				for _, want := range test.errs {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want an error with %q", err, want)
					}
				}
				fallbacks := 0.0
				if test.falls {
					fallbacks = 1
				}
				if got := valueOf(t, lookup.fallbacks); got != fallbacks {
					t.Errorf("got %v fallbacks, want %v", got, fallbacks)
				}
				if logged := strings.Contains(log.String(), `"namespace":"default","name":"app"`); logged != test.falls {
					t.Errorf("got log %q", log.String())
				}
				lookup.Wait()
			})
		})
	}
}

// TestLookup_budget checks that a read gets a third of the remaining time of the request,
// for any timeout of the webhook configuration.
func TestLookup_budget(t *testing.T) {
	for _, timeout := range []time.Duration{900 * time.Millisecond, 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			lookup := newLookup(Live, &bytes.Buffer{}, func(ctx context.Context) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			})
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			lookup.config.ReadTimeout = time.Minute
			start := time.Now()
			if value, _, err := lookup.Get(ctx, app); err != nil || value != cached {
				t.Errorf("got %q, %v", value, err)
			}
			if took := time.Since(start); took != timeout/3 {
				t.Errorf("with %s left the read took %s, want a third", timeout, took)
			}
			lookup.Wait()
		})
	}
}

// TestLookup_rateLimitedLog checks that the log lines of fallbacks are limited.
func TestLookup_rateLimitedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		lookup := newLookup(Live, &log, func(context.Context) (string, error) {
			return "", apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "app", errors.New("no permission"))
		})
		for range 1000 {
			if _, _, err := lookup.Get(t.Context(), app); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(log.String(), "\n"); got != 1 {
			t.Errorf("got %d lines, want 1", got)
		}
		time.Sleep(logInterval) // in synctest's time
		if _, _, err := lookup.Get(t.Context(), app); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "\n"); got != 2 {
			t.Errorf("got %d lines, want 2", got)
		}
		if got := valueOf(t, lookup.fallbacks); got != 1001 {
			t.Errorf("got %v fallbacks, want 1001", got)
		}
	})
}

// TestLookup_panic checks that a panic of a read is treated as an error. The log must
// have its stack and not its value, which may quote the object.
func TestLookup_panic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		// Packages of Kubernetes use klog, and some of them log the value of a panic.
		defer klog.CaptureState().Restore()
		klog.SetSlogLogger(slog.New(slog.NewJSONHandler(&log, nil)))
		lookup := newLookup(Live, &log, func(context.Context) (string, error) { panic("secret") })
		for range 3 {
			if value, fromCache, err := lookup.Get(t.Context(), app); err != nil || value != cached || !fromCache {
				t.Errorf("got %q, %t, %v; want the cached value", value, fromCache, err)
			}
		}
		lookup.config.Health.failed(errors.New("refused"))
		if _, _, err := lookup.Get(t.Context(), app); err == nil || !strings.Contains(err.Error(), "panicked") || strings.Contains(err.Error(), "secret") {
			t.Errorf("while the watch fails: got %v, want that the read panicked", err)
		}
		lookup.Wait()
		if got := valueOf(t, lookup.panics); got != 4 {
			t.Errorf("got %v panics, want 4", got)
		}
		if got := strings.Count(log.String(), "Live read panicked"); got != 1 {
			t.Errorf("got %d lines, want 1", got)
		}
		if !strings.Contains(log.String(), "TestLookup_panic") || strings.Contains(log.String(), "secret") {
			t.Errorf("got %s, want the stack without the value", log.String())
		}
	})
}
