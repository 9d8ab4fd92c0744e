package httpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
)

// readInto reads a body of the request, whose memory is reserved.
func (r *Reservation) readInto(buffer *bytes.Buffer, body io.Reader) error {
	_, err := buffer.ReadFrom(&limitedBody{ReadCloser: http.MaxBytesReader(nil, io.NopCloser(body), MaxBodyBytes), reservation: r})
	return err
}

func wantOverloaded(t *testing.T, what string, err error) {
	t.Helper()
	failure, ok := errors.AsType[*httperror.Error](err)
	if !ok || failure.Reason != Overloaded {
		t.Errorf("%s: got %v, want %s", what, err, Overloaded)
	}
}

func TestMemoryLimiter_perHostReadLimit(t *testing.T) {
	limiter := newMemoryLimiter()
	unauthenticated := limiter.begin("10.0.0.1")
	for range maxReadBytes / 2 / MaxBodyBytes {
		if err := unauthenticated.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", MaxBodyBytes))); err != nil {
			t.Fatal(err)
		}
	}
	wantOverloaded(t, "one more of the same host", unauthenticated.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", MaxBodyBytes))))

	server := limiter.begin("10.0.0.2")
	if err := server.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", MaxBodyBytes))); err != nil {
		t.Errorf("another host: %v", err)
	}
	unauthenticated.end()
	unauthenticated = limiter.begin("10.0.0.1")
	if err := unauthenticated.reserveRead(maxReadBytes / 2); err != nil {
		t.Errorf("after everything was released: %v", err)
	}
	server.end()
	unauthenticated.end()
	if !limiter.read.TryAcquire(maxReadBytes) || len(limiter.hosts) != 0 {
		t.Errorf("got quotas %v without requests, want none", limiter.hosts)
	}
}

func TestMemoryLimiter_totalReadLimit(t *testing.T) {
	limiter := newMemoryLimiter()
	for host := range 4 {
		if err := limiter.begin(fmt.Sprintf("10.0.0.%d", host)).reserveRead(maxReadBytes / 4); err != nil {
			t.Fatal(err)
		}
	}
	wantOverloaded(t, "a fifth", limiter.begin("10.0.0.9").readInto(new(bytes.Buffer), strings.NewReader("x")))
}

// TestReservation_readInto reads a body as it arrives from connections: in pieces, with
// the end in the last piece or after it.
func TestReservation_readInto(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 20_007} {
		want := bytes.Repeat([]byte("x"), size)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "half by half": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			reservation, buffer := newMemoryLimiter().begin("10.0.0.1"), new(bytes.Buffer)
			if err := reservation.readInto(buffer, wrap(bytes.NewReader(want))); err != nil || !bytes.Equal(buffer.Bytes(), want) {
				t.Errorf("%d bytes %s: got %d bytes, error %v", size, name, buffer.Len(), err)
			}
			if reservation.read != int64(size) {
				t.Errorf("%d bytes %s: got %d reserved bytes", size, name, reservation.read)
			}
		}
	}
}

func TestReservation_waitsForDecodeMemory(t *testing.T) {
	limiter := newMemoryLimiter()
	first := limiter.begin("10.0.0.1")
	const bomb = maxDecodedBytes // takes all of a host's share
	if err := first.Reserve(t.Context(), bomb); err != nil {
		t.Fatal(err)
	}
	second := limiter.begin("10.0.0.1")
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	wantOverloaded(t, "a second at once", second.Reserve(impatient, bomb))
	other := limiter.begin("10.0.0.2")
	if err := other.Reserve(t.Context(), 10_000); err != nil {
		t.Errorf("a request of another host: %v", err)
	}
	other.end()
	second.end()

	second = limiter.begin("10.0.0.1")
	admitted := make(chan error)
	go func() { admitted <- second.Reserve(t.Context(), bomb) }()
	first.end()
	if err := <-admitted; err != nil {
		t.Errorf("after memory was released: %v", err)
	}
	second.end()
	if left := limiter.hosts; len(left) != 0 {
		t.Errorf("got quotas %v without requests, want none", left)
	}
}

// TestMemoryLimiter_perHostDecodeLimit fills the quota of a host with requests that are
// never answered, while more of them wait. Other hosts must not be affected.
func TestMemoryLimiter_perHostDecodeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quarter = maxDecodedBytes / 4
		limiter := newMemoryLimiter()
		for range 2 {
			if err := limiter.begin("10.0.0.1").Reserve(t.Context(), quarter); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 10 {
			go func() {
				wantOverloaded(t, "a third of the first host", limiter.begin("10.0.0.1").Reserve(ctx, quarter))
			}()
		}
		synctest.Wait()
		for range 2 {
			if err := limiter.begin("10.0.0.2").Reserve(ctx, quarter); err != nil {
				t.Errorf("another host: %v", err)
			}
		}
	})
}

// TestMemoryLimiter_inFlightRequests checks that requests count although they have sent
// nothing of their bodies.
func TestMemoryLimiter_inFlightRequests(t *testing.T) {
	server := New(Options{
		Handlers: map[string]http.Handler{"/mutate": readBody{}}, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	handler := server.Handler()
	ask := func(host string, body io.Reader) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodPost, "/mutate", body)
		request.Header.Set("Content-Type", "application/json")
		request.RemoteAddr = host + ":1"
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		return response
	}
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`
	var running sync.WaitGroup
	var ends []*io.PipeWriter
	begun := make(chan struct{})
	for range maxReadBytes / 2 / requestOverheadBytes {
		reader, end := io.Pipe()
		ends = append(ends, end)
		running.Go(func() {
			// The request below may have taken its place.
			for ask("10.0.0.1", reader).Code == http.StatusServiceUnavailable {
				runtime.Gosched()
			}
		})
		go func() {
			_, _ = end.Write([]byte(" ")) // ends once it is read
			begun <- struct{}{}
		}()
	}
	// All of them are in flight when one more is rejected.
	refused := ask("10.0.0.1", strings.NewReader(body))
	for end := time.Now().Add(30 * time.Second); refused.Code == http.StatusOK && time.Now().Before(end); {
		refused = ask("10.0.0.1", strings.NewReader(body))
	}
	if refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") == "" {
		t.Errorf("one more: HTTP %d %v: %s", refused.Code, refused.Header(), refused.Body)
	}
	if other := ask("10.0.0.2", strings.NewReader(body)); other.Code != http.StatusOK {
		t.Errorf("another host: HTTP %d: %s", other.Code, other.Body)
	}
	for _, end := range ends {
		_ = end.Close()
	}
	for range ends {
		<-begun
	}
	running.Wait()
	if answered := ask("10.0.0.1", strings.NewReader(body)); answered.Code != http.StatusOK {
		t.Errorf("after they have ended: got HTTP %d: %s", answered.Code, answered.Body)
	}
}

func TestReservation_growDecode(t *testing.T) {
	limiter := newMemoryLimiter()
	first := limiter.begin("10.0.0.1")
	if err := first.Reserve(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	if err := first.Grow(9_000); err != nil || first.decoded != 10_000 {
		t.Errorf("less than the quota: got error %v, %d reserved bytes", err, first.decoded)
	}
	second := limiter.begin("10.0.0.1")
	if err := second.Reserve(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	if err := first.Grow(maxDecodedBytes/2 - 10_000); err != nil || first.decoded != maxDecodedBytes/2-10_000 {
		t.Errorf("the rest of the quota of a host: got error %v, %d reserved bytes", err, first.decoded)
	}
	wantOverloaded(t, "a second of the host", second.Grow(20_000))
	first.end()
	second.end()
	again := limiter.begin("10.0.0.1")
	if err := again.Reserve(t.Context(), maxDecodedBytes); err != nil {
		t.Errorf("after everything was released: %v", err)
	}
	again.end()
	if len(limiter.hosts) != 0 {
		t.Errorf("got quotas %v without requests, want none", limiter.hosts)
	}
}
