package objectcache

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// TestHealth_events replays the events of a watch, in the time of synctest.
func TestHealth_events(t *testing.T) {
	event := func(kind watch.EventType) func(*Health) {
		return func(h *Health) { h.received(watch.Event{Type: kind, Object: &corev1.ServiceAccount{}}) }
	}
	replaced := (*Health).Replaced
	watching := (*Health).watching
	failed := func(h *Health) { h.failed(errors.New("refused")) }
	wait := func(d time.Duration) func(*Health) {
		return func(*Health) { time.Sleep(d) } // in synctest's time
	}
	for name, test := range map[string]struct {
		steps []func(*Health)
		// want is part of the error; empty for a healthy watch.
		want string
	}{
		"nothing has happened":                        {nil, "first list"},
		"objects of the first list arrive":            {[]func(*Health){event(watch.Added)}, "first list"},
		"the first list is complete":                  {[]func(*Health){replaced}, ""},
		"a failure before the first list":             {[]func(*Health){failed, replaced}, ""},
		"an attempt to watch fails":                   {[]func(*Health){replaced, failed}, "refused"},
		"the next attempt to watch succeeds":          {[]func(*Health){replaced, failed, watching}, ""},
		"the next list is complete":                   {[]func(*Health){replaced, failed, replaced}, ""},
		"the next list is being streamed":             {[]func(*Health){replaced, failed, event(watch.Added)}, "refused"},
		"the watch ends with an error":                {[]func(*Health){replaced, event(watch.Error)}, "watch failed"},
		"two minutes of silence":                      {[]func(*Health){replaced, wait(2 * time.Minute)}, ""},
		"more than two minutes of silence":            {[]func(*Health){replaced, wait(2*time.Minute + time.Second)}, "nothing for 2m1s"},
		"silence, and a watch that starts":            {[]func(*Health){replaced, wait(3 * time.Minute), watching}, "nothing for 3m0s"},
		"a bookmark each minute":                      {[]func(*Health){replaced, wait(time.Minute), event(watch.Bookmark), wait(time.Minute), event(watch.Bookmark), wait(time.Minute)}, ""},
		"a bookmark after more than two minutes":      {[]func(*Health){replaced, wait(time.Hour), event(watch.Bookmark)}, ""},
		"an object that changes":                      {[]func(*Health){replaced, wait(time.Hour), event(watch.Modified)}, ""},
		"an object that changes after a failed watch": {[]func(*Health){replaced, failed, event(watch.Modified)}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth()
				for _, step := range test.steps {
					step(h)
				}
				err := h.Err()
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				want := 1.0
				if test.want != "" {
					want = 0
				}
				if got := valueOf(t, newHealthGauge("serviceaccounts", h)); got != want {
					t.Errorf("gauge is %v, want %v", got, want)
				}
			})
		})
	}
}

// TestWatch_health runs a reflector and checks the health after each event.
func TestWatch_health(t *testing.T) {
	wantHealth := func(t *testing.T, store *keeper, when, want string) {
		t.Helper()
		err := store.Health().Err()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", when, err, want)
		}
	}
	for name, streams := range map[string]bool{"lists are streamed": true, "lists are not streamed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, store := &accounts{streams: streams}, newKeeper()
				watching(t, source, store, func() {
					if streams {
						wantHealth(t, store, "before the end of the list", "first list")
						source.play(bookmark("100", true))
					}
					wantHealth(t, store, "after the list", "")
					if got := valueOf(t, source.failures()); got != 0 {
						t.Errorf("got %v failures, want 0", got)
					}
					time.Sleep(maxSilence + time.Second) // in synctest's time
					wantHealth(t, store, "after silence", "nothing for")
					source.play(bookmark("200", false))
					wantHealth(t, store, "after a bookmark", "")

					source.refuse(syscall.ECONNREFUSED)
					w, _ := source.last()
					w.Stop()
					synctest.Wait()
					wantHealth(t, store, "while attempts are refused", "connection refused")
					if got := valueOf(t, source.failures()); got == 0 {
						t.Error("got no failures, want at least 1")
					}
					source.refuse(nil)
					settle()
					wantHealth(t, store, "while it watches again", "")

					source.play(expired())
					wantHealth(t, store, "after the watch ended with an error", "too old")
					settle()
					if streams {
						wantHealth(t, store, "while the list is streamed again", "too old")
						source.play(bookmark("300", true))
					}
					wantHealth(t, store, "after the next list", "")
				})
			})
		})
	}
}

// TestWatch_streamedListCutOff checks that an incomplete streamed list does not make the
// watch healthy: until its end the store has the previous content.
func TestWatch_streamedListCutOff(t *testing.T) {
	cut := func(source *accounts) {
		w, _ := source.last()
		w.Stop()
		synctest.Wait()
	}
	for name, test := range map[string]struct {
		// play sends a streamed list that does not become complete.
		play func(*accounts)
		// want is part of the error of Health, and failures is the value of the counter.
		want     string
		failures float64
	}{
		"objects arrive": {
			func(source *accounts) { source.play(added("b", "B")) }, "nothing for", 0,
		},
		"changes and bookmarks arrive": {
			func(source *accounts) { source.play(modified("b", "B"), deleted("b", "B"), bookmark("150", false)) }, "nothing for", 0,
		},
		"the connection is cut": {
			func(source *accounts) {
				source.play(added("b", "B"))
				cut(source)
			},
			"before its list was complete", 1,
		},
		"the connection is cut after a bookmark that does not end the list": {
			func(source *accounts) {
				source.play(bookmark("150", false))
				cut(source)
			},
			"before its list was complete", 1,
		},
		"an error arrives": {
			func(source *accounts) { source.play(added("b", "B"), expired()) }, "too old", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, store := &accounts{streams: true}, newKeeper()
				watching(t, source, store, func() {
					source.play(added("a", "A"), bookmark("100", true))
					// The next watch ends immediately, so the reflector lists again.
					cut(source)
					settle()
					if _, options := source.last(); !streamsList(options) {
						t.Fatalf("got a watch with %+v, want a streamed list", options)
					}
					if err := store.Health().Err(); err != nil {
						t.Fatalf("before the list: got %v, want no error", err)
					}
					time.Sleep(maxSilence) // in synctest's time
					test.play(source)
					err := store.Health().Err()
					if err == nil || !strings.Contains(err.Error(), test.want) {
						t.Errorf("got %v, want %q", err, test.want)
					}
					if got := valueOf(t, source.failures()); got != test.failures {
						t.Errorf("got %v failures, want %v", got, test.failures)
					}
					settle()
					source.play(bookmark("300", true))
					if err := store.Health().Err(); err != nil {
						t.Errorf("after the next list: got %v, want no error", err)
					}
					source.play(bookmark("400", false))
					cut(source)
					if got := valueOf(t, source.failures()); got != test.failures {
						t.Errorf("after the end of a watch: got %v failures, want %v", got, test.failures)
					}
				})
				if got := valueOf(t, source.failures()); got != test.failures {
					t.Errorf("after the stop: got %v failures, want %v", got, test.failures)
				}
			})
		})
	}
}

// TestWatch_streamedListStopped checks that a stopped list does not count as failed, no
// matter whether the context or the watch ends first.
func TestWatch_streamedListStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		source.endWithContext = true
		watching(t, source, store, func() { source.play(added("a", "A")) })
		if got := valueOf(t, source.failures()); got != 0 {
			t.Errorf("got %v failures, want 0", got)
		}
	})
}

// lines are the lines of a log. slog.TextHandler writes each with one call.
type lines struct {
	mu      sync.Mutex
	written []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, string(line))
	return len(line), nil
}

// take returns the lines since its previous call.
func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.written
	l.written = nil
	return taken
}

// TestWatch_healthLog checks that each change of the health is one log line with the
// reason, also if the reason is silence.
func TestWatch_healthLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		var log lines
		source.logger = slog.New(slog.NewTextHandler(&log, nil))
		wantLines := func(when string, want ...string) {
			t.Helper()
			settle()
			got := log.take()
			if len(got) != len(want) {
				t.Errorf("%s: got %q, want %d lines", when, got, len(want))
				return
			}
			for i, line := range got {
				if !strings.Contains(line, want[i]) || !strings.Contains(line, "resource=accounts") {
					t.Errorf("%s: got %q, want %q", when, line, want[i])
				}
			}
		}
		watching(t, source, store, func() {
			wantLines("before the first list")
			source.play(bookmark("100", true))
			wantLines("after the first list")
			time.Sleep(maxSilence) // in synctest's time
			wantLines("after silence", `msg="Watch is not healthy"`)
			wantLines("after more silence")
			source.play(bookmark("200", false))
			wantLines("after a bookmark", `msg="Watch is healthy again"`)

			source.refuse(syscall.ECONNREFUSED)
			w, _ := source.last()
			w.Stop()
			wantLines("while attempts are refused", "connection refused")
			wantLines("while they still are")
			source.refuse(nil)
			settle()
			source.play(bookmark("250", false))
			wantLines("while it watches again", "healthy again")
		})
	})
}

// TestStreamedList_errorBeforeTheEnd checks that a list fails once, with its first error.
func TestStreamedList_errorBeforeTheEnd(t *testing.T) {
	var got []error
	list := &filteredWatch{failed: func(err error) { got = append(got, err) }}
	list.observe(expired())
	list.ended()
	if len(got) != 1 || !apierrors.IsResourceExpired(got[0]) {
		t.Errorf("got %v, want the error of the watch", got)
	}
}

// valueOf returns the value of a counter or gauge.
func valueOf(t *testing.T, metric prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metric)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("gathered %v, %v", families, err)
	}
	found := families[0].GetMetric()[0]
	return found.GetCounter().GetValue() + found.GetGauge().GetValue()
}
