package webhook

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

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

func requestOf(host string) *http.Request {
	request := httptest.NewRequest(http.MethodPost, "/mutate", nil)
	request.RemoteAddr = host + ":1"
	return request
}

func wantOverloaded(t *testing.T, what string, err error) {
	t.Helper()
	failure, ok := errors.AsType[*Error](err)
	if !ok || failure.Reason != Overloaded {
		t.Errorf("%s: got %v, want %s", what, err, Overloaded)
	}
}

func TestOneHostCannotTakeAllThatThereIsForBodies(t *testing.T) {
	bodies := newBodies()
	stranger := bodies.hold(requestOf("10.0.0.1"))
	for range maxReadBytes / 2 / maxBodyBytes {
		if err := stranger.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", maxBodyBytes))); err != nil {
			t.Fatal(err)
		}
	}
	wantOverloaded(t, "one more of the stranger", stranger.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", maxBodyBytes))))

	server := bodies.hold(requestOf("10.0.0.2"))
	if err := server.readInto(new(bytes.Buffer), strings.NewReader(strings.Repeat(" ", maxBodyBytes))); err != nil {
		t.Errorf("another host: %v", err)
	}
	stranger.release()
	stranger = bodies.hold(requestOf("10.0.0.1"))
	if err := stranger.take(maxReadBytes / 2); err != nil {
		t.Errorf("after all was given back: %v", err)
	}
	server.release()
	stranger.release()
	if !bodies.read.TryAcquire(maxReadBytes) || len(bodies.hosts) != 0 {
		t.Errorf("memory or shares %v are held by nobody", bodies.hosts)
	}
}

func TestManyHostsCannotTakeMoreThanThereIsForBodies(t *testing.T) {
	bodies := newBodies()
	for host := range 4 {
		if err := bodies.hold(requestOf(fmt.Sprintf("10.0.0.%d", host))).take(maxReadBytes / 4); err != nil {
			t.Fatal(err)
		}
	}
	wantOverloaded(t, "a fifth", bodies.hold(requestOf("10.0.0.9")).readInto(new(bytes.Buffer), strings.NewReader("x")))
}

// TestABodyIsReadWhole reads it as it comes from connections: in pieces, with the
// end beside the last piece or after it.
func TestABodyIsReadWhole(t *testing.T) {
	for _, size := range []int{0, 1, readStep - 1, readStep, readStep + 1, 3*readStep + 7} {
		want := bytes.Repeat([]byte("x"), size)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "half by half": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			held, buffer := newBodies().hold(requestOf("10.0.0.1")), new(bytes.Buffer)
			if err := held.readInto(buffer, wrap(bytes.NewReader(want))); err != nil || !bytes.Equal(buffer.Bytes(), want) {
				t.Errorf("%d bytes %s: %d were read, %v", size, name, buffer.Len(), err)
			}
			if held.read != int64(size) {
				t.Errorf("%d bytes %s: %d are counted", size, name, held.read)
			}
		}
	}
}

func TestWhatIsDecodedWaitsForRoom(t *testing.T) {
	bodies := newBodies()
	first := bodies.hold(requestOf("10.0.0.1"))
	const bomb = maxDecodedBytes // takes all of a host's share
	if err := first.decode(t.Context(), bomb); err != nil {
		t.Fatal(err)
	}
	second := bodies.hold(requestOf("10.0.0.1"))
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	wantOverloaded(t, "a second at once", second.decode(impatient, bomb))
	other := bodies.hold(requestOf("10.0.0.2"))
	if err := other.decode(t.Context(), 10_000); err != nil {
		t.Errorf("one of another host: %v", err)
	}
	other.release()
	second.release()

	second = bodies.hold(requestOf("10.0.0.1"))
	admitted := make(chan error)
	go func() { admitted <- second.decode(t.Context(), bomb) }()
	first.release()
	if err := <-admitted; err != nil {
		t.Errorf("once there is room: %v", err)
	}
	second.release()
	if left := bodies.hosts; len(left) != 0 {
		t.Errorf("nobody asks, and there are shares %v", left)
	}
}

// TestOneHostCannotTakeAllTheRoom though its requests are never answered, and
// more of them wait.
func TestOneHostCannotTakeAllTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quarter = maxDecodedBytes / 4
		bodies := newBodies()
		for range 2 {
			if err := bodies.hold(requestOf("10.0.0.1")).decode(t.Context(), quarter); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 10 {
			go func() {
				wantOverloaded(t, "a third of the first host", bodies.hold(requestOf("10.0.0.1")).decode(ctx, quarter))
			}()
		}
		synctest.Wait()
		for range 2 {
			if err := bodies.hold(requestOf("10.0.0.2")).decode(ctx, quarter); err != nil {
				t.Errorf("another host: %v", err)
			}
		}
	})
}

// TestRequestsUnderWayAreBounded though they have sent nothing of their bodies.
func TestRequestsUnderWayAreBounded(t *testing.T) {
	server := New(Config{
		Mutate: func(context.Context, *Request[inject.Pod]) (Answer, error) { return allow(inject.Result{}, nil), nil },
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
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
	for range maxReadBytes / 2 / requestBytes {
		reader, end := io.Pipe()
		ends = append(ends, end)
		running.Go(func() {
			// The question below may have taken its place.
			for ask("10.0.0.1", reader).Code == http.StatusServiceUnavailable {
				runtime.Gosched()
			}
		})
		go func() {
			_, _ = end.Write([]byte(" ")) // ends once it is read
			begun <- struct{}{}
		}()
	}
	// All of them are under way once one more is refused.
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
		t.Errorf("once they have ended: HTTP %d: %s", answered.Code, answered.Body)
	}
}

func TestAnAnswerTakesMoreRoomOrIsRefused(t *testing.T) {
	bodies := newBodies()
	first := bodies.hold(requestOf("10.0.0.1"))
	if err := first.decode(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	if err := first.extend(9_000); err != nil || first.decoded != 10_000 {
		t.Errorf("less than there is: %v, %d bytes are held", err, first.decoded)
	}
	second := bodies.hold(requestOf("10.0.0.1"))
	if err := second.decode(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	if err := first.extend(maxDecodedBytes/2 - 10_000); err != nil || first.decoded != maxDecodedBytes/2-10_000 {
		t.Errorf("all that is left of a host's share: %v, %d bytes are held", err, first.decoded)
	}
	wantOverloaded(t, "a second of the host", second.extend(20_000))
	first.release()
	second.release()
	again := bodies.hold(requestOf("10.0.0.1"))
	if err := again.decode(t.Context(), maxDecodedBytes); err != nil {
		t.Errorf("after all was given back: %v", err)
	}
	again.release()
	if len(bodies.hosts) != 0 {
		t.Errorf("nobody asks, and there are shares %v", bodies.hosts)
	}
}
