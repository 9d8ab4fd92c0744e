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
	// maxReadBytes bounds the requests under way and their bodies, all together. An
	// API server may have 600 requests under way (see maxConnections), with a pod of
	// some 10 KiB each: 16 MiB, which is one host's half.
	maxReadBytes = 32 << 20
	// requestBytes is what a request takes beside its body: goroutines, buffers.
	requestBytes = 16 << 10
	// maxDecodedBytes bounds what is made of those that become large, and as much of
	// the others: a pod must not wait for monsters. A usual pod is given 30 KiB.
	maxDecodedBytes = 32 << 20
	// largeBytes is what a large one becomes at the least: a pod with some hundred
	// containers, or thousands of volumes.
	largeBytes = 1 << 20
	// bodyTimeout is how long a body may take. The largest must come at 1.4 MiB/s,
	// which is slow between an API server and a pod.
	bodyTimeout = 5 * time.Second
	// readStep is how much of a body is read at a time.
	readStep = 8 << 10
)

// bodies bounds the memory that requests take, whoever sends them. One host is
// given half of each bound at most, so that it cannot keep the others from asking.
type bodies struct {
	limit int64

	mu     sync.Mutex
	read   int64
	byHost map[string]*share

	// small and large are room for what bodies are decoded to.
	small, large *semaphore.Weighted
}

// share is what a host may have, as long as it has requests under way. requests
// and read are guarded by the mutex of bodies.
type share struct {
	requests     int
	read         int64
	small, large *semaphore.Weighted
}

func newBodies() *bodies {
	return &bodies{
		limit: maxReadBytes, byHost: map[string]*share{},
		small: semaphore.NewWeighted(maxDecodedBytes), large: semaphore.NewWeighted(maxDecodedBytes),
	}
}

// held is what one request has taken of the bounds.
type held struct {
	bodies  *bodies
	host    string
	share   *share
	read    int64
	decoded int64
	// mine and all are what decoded is taken from; nil for nowhere yet.
	mine, all *semaphore.Weighted
}

// hold begins a request, which release ends.
func (b *bodies) hold(r *http.Request) *held {
	host := hostOf(r.RemoteAddr)
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.byHost[host]
	if of == nil {
		of = &share{small: semaphore.NewWeighted(maxDecodedBytes / 2), large: semaphore.NewWeighted(maxDecodedBytes / 2)}
		b.byHost[host] = of
	}
	of.requests++
	return &held{bodies: b, host: host, share: of}
}

// overloaded is an error upon which an API server asks again, if it has the time.
func overloaded(format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Reason: Overloaded, Err: fmt.Errorf(format, args...)}
}

// take takes n bytes for reading.
func (h *held) take(n int64) *Error {
	b := h.bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.read+n > b.limit:
		return overloaded("the requests under way take more than %d bytes: ask again", b.limit)
	case h.share.read+n > b.limit/2:
		return overloaded("the requests under way of %s take more than %d bytes: ask again", h.host, b.limit/2)
	}
	h.read += n
	b.read += n
	h.share.read += n
	return nil
}

// release gives all back, once.
func (h *held) release() {
	h.leave()
	b := h.bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read -= h.read
	h.share.read -= h.read
	if h.share.requests--; h.share.requests == 0 {
		delete(b.byHost, h.host)
	}
}

// readInto reads a body. What it takes is taken as it comes, not as the client
// promises: a promise costs the client nothing.
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

// rooms are what a body may become: the first that is enough is taken. Usual pods need
// a few KiB, and the largest that can be stored, of 6,000 containers, half of the last.
var rooms = []int64{16 << 10, 128 << 10, 1 << 20, maxDecodedBytes / 2}

// admit waits until there is room for what a body becomes, n bytes, as long as ctx
// lasts. Who has room keeps it until he is answered, also while a ServiceAccount is
// read from the API server. The requests of a host wait for one another before they
// wait for those of others.
func (h *held) admit(ctx context.Context, n int64) error {
	h.leave()
	n = min(n, maxDecodedBytes)
	mine, all := h.share.small, h.bodies.small
	if n >= largeBytes {
		mine, all = h.share.large, h.bodies.large
	}
	if mine.Acquire(ctx, halfAtMost(n)) != nil {
		return overloaded("the requests under way of %s take all the memory that there is for them: ask again", h.host)
	}
	if all.Acquire(ctx, n) != nil {
		mine.Release(halfAtMost(n))
		return overloaded("the requests under way take all the memory that there is for them: ask again")
	}
	h.decoded, h.mine, h.all = n, mine, all
	return nil
}

// extend takes more room, for an answer of n bytes, if that is more than the body was
// given: a ServiceAccount's annotations may be long, and go to each container. It does
// not wait, since it would do so with the answer in memory.
func (h *held) extend(n int64) error {
	if h.all == nil || n <= h.decoded {
		return nil
	}
	h.leave()
	n = min(n, maxDecodedBytes)
	if !h.share.large.TryAcquire(halfAtMost(n)) {
		return overloaded("the requests under way of %s take all the memory that there is for them: ask again", h.host)
	}
	if !h.bodies.large.TryAcquire(n) {
		h.share.large.Release(halfAtMost(n))
		return overloaded("the requests under way take all the memory that there is for them: ask again")
	}
	h.decoded, h.mine, h.all = n, h.share.large, h.bodies.large
	return nil
}

// leave gives up the room that admit took, if any.
func (h *held) leave() {
	if h.all != nil {
		h.all.Release(h.decoded)
		h.mine.Release(halfAtMost(h.decoded))
		h.mine, h.all = nil, nil
	}
}

// halfAtMost is what is taken of a host's share for a body that takes n of all. One
// that takes more than half is alone, until it is answered.
func halfAtMost(n int64) int64 { return min(n, maxDecodedBytes/2) }
