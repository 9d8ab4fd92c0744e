package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxReadBytes bounds the memory of requests in flight and of their bodies. An API
	// server can have 600 requests in flight (see maxConnections), with a pod of some
	// 10 KiB each: 16 MiB, which is one host's half.
	maxReadBytes = 32 << 20
	// requestBytes is what a request takes besides its body: goroutines, buffers.
	requestBytes = 16 << 10
	// maxDecodedBytes bounds the memory of what bodies are decoded to.
	maxDecodedBytes = 64 << 20
	// usualBytes is what the lists and maps of most pods take.
	usualBytes = 16 << 10
	// bodyTimeout is how long a body may take. The largest must come at 1.4 MiB/s,
	// which is slow between an API server and a pod.
	bodyTimeout = 5 * time.Second
	// readStep is how much of a body is read at a time.
	readStep = 8 << 10
)

// bodies bounds the memory that requests take, whoever sends them. One host gets half
// of it at most, so that it cannot keep the others out.
type bodies struct {
	read, decoded *semaphore.Weighted

	mu    sync.Mutex
	hosts map[string]*share
}

// share is what a host can have, as long as it has requests in flight.
type share struct {
	requests      int // guarded by the mutex of bodies
	read, decoded *semaphore.Weighted
}

func newBodies() *bodies {
	return &bodies{
		read: semaphore.NewWeighted(maxReadBytes), decoded: semaphore.NewWeighted(maxDecodedBytes), hosts: map[string]*share{},
	}
}

// held is what one request has taken.
type held struct {
	bodies        *bodies
	host          string
	share         *share
	read, decoded int64
}

// hold begins a request, which release ends.
func (b *bodies) hold(r *http.Request) *held {
	host := hostOf(r.RemoteAddr)
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.hosts[host]
	if of == nil {
		of = &share{read: semaphore.NewWeighted(maxReadBytes / 2), decoded: semaphore.NewWeighted(maxDecodedBytes / 2)}
		b.hosts[host] = of
	}
	of.requests++
	return &held{bodies: b, host: host, share: of}
}

// overloaded is an error after which an API server tries again, if it has the time.
func overloaded(format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Reason: Overloaded, Err: fmt.Errorf(format, args...)}
}

func (h *held) hostOverloaded() *Error {
	return overloaded("the requests in flight of %s take all the memory that there is for them: try again", h.host)
}

func allOverloaded() *Error {
	return overloaded("the requests in flight take all the memory that there is for them: try again")
}

// take takes n bytes for reading.
func (h *held) take(n int64) error {
	if !h.share.read.TryAcquire(n) {
		return h.hostOverloaded()
	}
	if !h.bodies.read.TryAcquire(n) {
		h.share.read.Release(n)
		return allOverloaded()
	}
	h.read += n
	return nil
}

// readInto reads a body. Memory is taken as the body arrives, not as its header
// declares: a client can declare any Content-Length.
func (h *held) readInto(buffer *bytes.Buffer, body io.Reader) error {
	step := io.LimitedReader{R: body}
	for {
		step.N = readStep
		n, err := buffer.ReadFrom(&step)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := h.take(n); err != nil {
				return err
			}
		}
		if n < readStep {
			return nil
		}
	}
}

// decode waits until n bytes are free, for what the body is decoded to, in place of
// those of an earlier call. A request keeps them until its end, also while a
// ServiceAccount is read from the API server. The requests of a host wait for one
// another before they wait for those of others.
func (h *held) decode(ctx context.Context, n int64) error {
	h.leave()
	n = min(n, maxDecodedBytes/2)
	if h.share.decoded.Acquire(ctx, n) != nil {
		return h.hostOverloaded()
	}
	if h.bodies.decoded.Acquire(ctx, n) != nil {
		h.share.decoded.Release(n)
		return allOverloaded()
	}
	h.decoded = n
	return nil
}

// extend takes what n bytes are more than the body was given, for the response: a
// ServiceAccount's annotations may be long, and go to each container. It does not wait,
// since the response is in memory already.
func (h *held) extend(n int64) error {
	n = min(n, maxDecodedBytes/2) - h.decoded
	if n <= 0 {
		return nil
	}
	if !h.share.decoded.TryAcquire(n) {
		return h.hostOverloaded()
	}
	if !h.bodies.decoded.TryAcquire(n) {
		h.share.decoded.Release(n)
		return allOverloaded()
	}
	h.decoded += n
	return nil
}

// leave gives back what decode and extend took.
func (h *held) leave() {
	h.share.decoded.Release(h.decoded)
	h.bodies.decoded.Release(h.decoded)
	h.decoded = 0
}

// release gives all back, once.
func (h *held) release() {
	h.leave()
	h.share.read.Release(h.read)
	h.bodies.read.Release(h.read)
	b := h.bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.share.requests--; h.share.requests == 0 {
		delete(b.hosts, h.host)
	}
}
