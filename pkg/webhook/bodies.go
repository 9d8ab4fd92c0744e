package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/semaphore"
)

const (
	// maxReadBytes bounds the requests under way and their bodies, all together. An
	// API server may have 600 requests under way (see maxConnections), with a pod of
	// some 10 KiB each, which is one host's half of it.
	maxReadBytes = 32 << 20
	// requestBytes is what a request takes beside its body: goroutines, buffers.
	requestBytes = 16 << 10
	// maxDecodedBytes bounds what is made of those that become large, and as much of
	// the others: a pod must not wait for monsters.
	maxDecodedBytes = 32 << 20
	// largeBytes is what a large one becomes at the least: many times a usual pod.
	largeBytes = 1 << 20
	// maxItems bounds the objects in the lists of a review: each becomes a value
	// in memory that may be thirty times its size, and a container of three bytes
	// gets a patch of hundreds. A stored pod has 1.5 MiB at most, and each of its
	// containers, with its defaults, some 250 bytes: 6,000.
	maxItems = 10_000
	// itemBytes is what an object can become: a container with four variables and a
	// mount in its patch, which is written three times, the last time in base64.
	itemBytes = 2 << 10
	// quoteBytes is what each quote of a string can become, by a quarter of what a
	// label or annotation takes in a map that grows.
	quoteBytes = 48
	// bodyTimeout is how long a body may take. The largest must come at 1.4 MiB/s,
	// which is slow between an API server and a pod.
	bodyTimeout = 5 * time.Second
	// readStep is how much of a body is read at a time.
	readStep = 8 << 10
)

// bodies bounds the memory that requests take, whoever sends them.
type bodies struct {
	limit int64

	mu     sync.Mutex
	read   int64
	byHost map[string]int64

	// small and large are room for what bodies are decoded to.
	small, large *semaphore.Weighted
}

func newBodies() *bodies {
	return &bodies{limit: maxReadBytes, byHost: map[string]int64{}, small: semaphore.NewWeighted(maxDecodedBytes), large: semaphore.NewWeighted(maxDecodedBytes)}
}

// held is what one request has taken of the bounds.
type held struct {
	bodies  *bodies
	host    string
	read    int64
	decoded int64
	// of is where decoded is taken from; nil for nowhere yet.
	of *semaphore.Weighted
}

func (b *bodies) hold(r *http.Request) *held {
	return &held{bodies: b, host: hostOf(r.RemoteAddr)}
}

// overloaded is an error upon which an API server asks again, if it has the time.
func overloaded(format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Reason: Overloaded, Err: fmt.Errorf(format, args...)}
}

// take takes n bytes for reading. One host is given half of them all at most, so
// that it cannot keep the others from asking.
func (h *held) take(n int64) *Error {
	b := h.bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.read+n > b.limit:
		return overloaded("the requests under way take more than %d bytes: ask again", b.limit)
	case b.byHost[h.host]+n > b.limit/2:
		return overloaded("the requests under way of %s take more than %d bytes: ask again", h.host, b.limit/2)
	}
	h.read += n
	b.read += n
	b.byHost[h.host] += n
	return nil
}

// release gives all back.
func (h *held) release() {
	b := h.bodies
	if h.of != nil {
		h.of.Release(h.decoded)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read -= h.read
	if b.byHost[h.host] -= h.read; b.byHost[h.host] == 0 {
		delete(b.byHost, h.host)
	}
	h.read, h.decoded, h.of = 0, 0, nil
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

// admit waits until there is room for what the body is decoded to, as long as ctx
// lasts: there is always some soon, since no request waits for another here.
func (h *held) admit(ctx context.Context, body []byte) error {
	items, err := countItems(body)
	if err != nil {
		return err
	}
	quotes := bytes.Count(body, []byte(`"`))
	room := min(int64(len(body)+items*itemBytes+quotes*quoteBytes), maxDecodedBytes)
	of := h.bodies.small
	if room >= largeBytes {
		of = h.bodies.large
	}
	if err := of.Acquire(ctx, room); err != nil {
		return overloaded("the requests under way take all the memory that there is for them: ask again")
	}
	h.decoded, h.of = room, of
	return nil
}

// countItems returns at least the number of objects in lists, or an error if
// there are too many of them. It counts braces, which is quick, and looks closely
// if there are many: they may be in strings, or not in lists.
func countItems(body []byte) (int, error) {
	// null in a list becomes a value too.
	items := bytes.Count(body, []byte("{")) + bytes.Count(body, []byte("null"))
	if items <= maxItems {
		return items, nil
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body), decodeOptions)
	for items = 0; items <= maxItems; {
		kind := decoder.PeekKind()
		if parent, _ := decoder.StackIndex(decoder.StackDepth()); parent == '[' && (kind == '{' || kind == 'n') {
			items++
		}
		if _, err := decoder.ReadToken(); err != nil {
			// It ends here, or cannot be read on, which is for the decoding to tell.
			return items, nil //nolint:nilerr // see above
		}
	}
	return 0, &Error{
		Status: http.StatusRequestEntityTooLarge, Reason: BodyTooLarge,
		Err: fmt.Errorf("the review has more than %d containers, variables, volumes and other items of lists, which no pod has", maxItems),
	}
}
