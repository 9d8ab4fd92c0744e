package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// callerOf starts a server, which also supports HTTP/2, and returns a caller of it.
func callerOf(t *testing.T, handler http.HandlerFunc) caller {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return newCaller(server.URL, server.Client().Transport.(*http.Transport).TLSClientConfig)
}

// answerOfTheFloor returns the response of the constant server, which has a patch.
func answerOfTheFloor(t *testing.T) []byte {
	t.Helper()
	answer, err := os.ReadFile("constantserver/answer.json")
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func recordedReviews(t *testing.T) []review {
	t.Helper()
	reviews, err := loadReviews()
	if err != nil {
		t.Fatal(err)
	}
	return reviews
}

func TestLoad_equalMix(t *testing.T) {
	answer := answerOfTheFloor(t)
	var mu sync.Mutex
	asked := map[string]int{}
	c := callerOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, err := parseReview(body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		asked[got.serviceAccount]++
		mu.Unlock()
		_, _ = w.Write(answer)
	})
	reviews := recordedReviews(t)
	sizes, err := c.check(t.Context(), reviews, true)
	if err != nil {
		t.Fatal(err)
	}
	clear(asked)
	got, err := c.drive(t.Context(), []worker{{reviews, sizes}, {reviews, sizes}, {reviews, sizes}}, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, r := range reviews {
		n := asked[r.serviceAccount]
		total += n
		// Each worker may have started one more turn.
		if share := len(got.latencies) / len(reviews); n < share-3 || n > share+3 {
			t.Errorf("%s: got %d of %d requests, want an equal share", r.name, n, len(got.latencies))
		}
	}
	if total != len(got.latencies) || got.answerBytes != int64(total*len(answer)) || got.took < 50*time.Millisecond {
		t.Errorf("got %d latencies and %d bytes in %s, want %d responses of %d bytes", len(got.latencies), got.answerBytes, got.took, total, len(answer))
	}
}

func TestLoad_wrongResponse(t *testing.T) {
	reviews := recordedReviews(t)[:1]
	patched := string(answerOfTheFloor(t))
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		patched bool
		checked bool // if true, it passes check and fails in drive
	}{
		{"an error", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "overloaded", http.StatusServiceUnavailable)
		}, true, false},
		{"not an AdmissionReview", always("{}"), true, false},
		{"an unexpected patch", always(patched), false, false},
		{"a missing patch", always(`{"response":{"allowed":true}}`), true, false},
		{"a denied pod", always(`{"response":{"allowed":false}}`), false, false},
		{"another response later", later(patched, patched+" "), true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := callerOf(t, test.answer)
			sizes, err := c.check(t.Context(), reviews, test.patched)
			if (err == nil) != test.checked {
				t.Errorf("check: got %v", err)
			}
			if !test.checked {
				return
			}
			if _, err := c.drive(t.Context(), []worker{{reviews, sizes}}, time.Minute); err == nil {
				t.Error("drive: got no error")
			}
		})
	}
}

func always(answer string) http.HandlerFunc { return later(answer, answer) }

// later sends first to the first request and others to all other requests.
func later(first, others string) http.HandlerFunc {
	var once sync.Once
	return func(w http.ResponseWriter, _ *http.Request) {
		answer := others
		once.Do(func() { answer = first })
		_, _ = w.Write([]byte(answer))
	}
}

func TestCheck_HTTP2(t *testing.T) {
	c := callerOf(t, always(string(answerOfTheFloor(t))))
	c.client.Transport.(*http.Transport).Protocols.SetHTTP2(true)
	if _, err := c.check(t.Context(), recordedReviews(t), true); err == nil || !strings.Contains(err.Error(), "HTTP/2") {
		t.Errorf("got %v, want an error with HTTP/2", err)
	}
}

func TestDrive_connectionsThatAreNotKept(t *testing.T) {
	reviews := recordedReviews(t)
	answer := answerOfTheFloor(t)
	for name, close := range map[string]bool{"kept": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			c := callerOf(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if close {
					w.Header().Set("Connection", "close")
				}
				_, _ = w.Write(answer)
			})
			sizes, err := c.check(t.Context(), reviews, true)
			if err != nil {
				t.Fatal(err)
			}
			workers := []worker{{reviews, sizes}, {reviews, sizes}}
			var warm load
			for range 2 {
				if warm, err = c.drive(t.Context(), workers, 100*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			if got := warm.checkKept(len(workers)) != nil; got != close {
				t.Errorf("got error %t with %d new connections for %d requests", got, warm.opened, len(warm.latencies))
			}
		})
	}
}

func TestReview_of(t *testing.T) {
	for _, r := range recordedReviews(t) {
		other := r.of("no-role-7")
		got, err := parseReview(other.body)
		if err != nil {
			t.Fatal(err)
		}
		if got.serviceAccount != "no-role-7" || other.serviceAccount != "no-role-7" || got.namespace != r.namespace {
			t.Errorf("%s: got %s/%s", r.name, got.namespace, got.serviceAccount)
		}
		if back := other.of(r.serviceAccount); string(back.body) != string(r.body) {
			t.Errorf("%s: other fields changed", r.name)
		}
	}
}

func TestLoad_serviceAccountPerWorker(t *testing.T) {
	recorded := recordedReviews(t)
	shared, own := benchTarget{}, benchTarget{live: true}
	if got := shared.reviews(recorded, 1)[0].serviceAccount; got != recorded[0].serviceAccount {
		t.Errorf("candidate without live reads: got ServiceAccount %s", got)
	}
	if first, second := own.reviews(recorded, 1)[0], own.reviews(recorded, 2)[0]; first.serviceAccount == second.serviceAccount {
		t.Errorf("two workers have ServiceAccount %s", first.serviceAccount)
	}
	if recorded[0].serviceAccount == accountWithRole(1) {
		t.Error("the recording was changed")
	}
}

func TestUsageOf(t *testing.T) {
	got, err := usageOf(os.Getpid())
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs /proc")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.peak < 1<<20 {
		t.Errorf("got %d bytes of peak memory", got.peak)
	}

	// Wait until the CPU time is visible. This process is the server and the client here,
	// so its time is subtracted twice.
	started, err := startWatch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for {
		server, others, err := started.since()
		if err != nil {
			t.Fatal(err)
		}
		if server > 0 {
			all, err := busy()
			if err != nil {
				t.Fatal(err)
			}
			if others > all-started.busy-server {
				t.Errorf("got %s of %s for other processes, with %s for this process", others, all-started.busy, server)
			}
			return
		}
	}
}

func TestDeployedEnvironment(t *testing.T) {
	got, err := deployedEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if joined := strings.Join(got, " "); !strings.Contains(joined, "GOMEMLIMIT=") {
		t.Errorf("got %q", joined)
	}
}
