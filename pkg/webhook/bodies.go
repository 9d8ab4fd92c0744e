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
	// some 10 KiB each: 16 MiB, which is one host's half.
	maxReadBytes = 32 << 20
	// requestBytes is what a request takes beside its body: goroutines, buffers.
	requestBytes = 16 << 10
	// maxDecodedBytes bounds what is made of those that become large, and as much of
	// the others: a pod must not wait for monsters. A usual pod is given 100 KiB.
	maxDecodedBytes = 32 << 20
	// largeBytes is what a large one becomes at the least: a pod with some hundred
	// items, and several times a usual one.
	largeBytes = 1 << 20
	// maxItems bounds the objects in the lists of a review: each becomes a value
	// in memory that may be thirty times its size, and a container of three bytes
	// gets a patch of hundreds. A stored pod has 1.5 MiB at most, and each of its
	// containers, with its defaults, some 250 bytes: 6,000.
	maxItems = 10_000
	// itemBytes is what is held for a container while its patch is sent, as measured.
	// A patch has its variables and mounts twice, once of them in base64. Any other
	// object takes less than 400 bytes, but which is which is known too late.
	itemBytes = 2 << 10
	// quoteBytes is what each quote of a string can become: a quarter of what an
	// annotation takes in a map that grows, as measured.
	quoteBytes = 40
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
	small, large *room
}

func newBodies() *bodies {
	return &bodies{limit: maxReadBytes, byHost: map[string]int64{}, small: newRoom(), large: newRoom()}
}

// room is for maxDecodedBytes, of which one host gets half.
type room struct {
	all *semaphore.Weighted

	mu     sync.Mutex
	byHost map[string]*share
}

// share is a host's, as long as it has users.
type share struct {
	room  *semaphore.Weighted
	users int
}

func newRoom() *room {
	return &room{all: semaphore.NewWeighted(maxDecodedBytes), byHost: map[string]*share{}}
}

// acquire takes n bytes, or what there is if that is less. The requests of a host
// wait for one another before they wait for those of others.
func (r *room) acquire(ctx context.Context, host string, n int64) (release func(), err error) {
	r.mu.Lock()
	of := r.byHost[host]
	if of == nil {
		of = &share{room: semaphore.NewWeighted(maxDecodedBytes / 2)}
		r.byHost[host] = of
	}
	of.users++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if of.users--; of.users == 0 {
			delete(r.byHost, host)
		}
	}

	n = min(n, maxDecodedBytes)
	mine := min(n, maxDecodedBytes/2)
	if err := of.room.Acquire(ctx, mine); err != nil {
		leave()
		return nil, err
	}
	if err := r.all.Acquire(ctx, n); err != nil {
		of.room.Release(mine)
		leave()
		return nil, err
	}
	return func() {
		r.all.Release(n)
		of.room.Release(mine)
		leave()
	}, nil
}

// held is what one request has taken of the bounds.
type held struct {
	bodies *bodies
	host   string
	read   int64
	// leave gives back the room for what the body was decoded to; nil for none.
	leave func()
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
	if h.leave != nil {
		h.leave()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read -= h.read
	if b.byHost[h.host] -= h.read; b.byHost[h.host] == 0 {
		delete(b.byHost, h.host)
	}
	h.read, h.leave = 0, nil
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
// lasts. Who has room keeps it until he is answered, also while a ServiceAccount is
// read from the API server.
func (h *held) admit(ctx context.Context, body []byte) error {
	n, err := roomFor(body)
	if err != nil {
		return err
	}
	of := h.bodies.small
	if n >= largeBytes {
		of = h.bodies.large
	}
	if h.leave, err = of.acquire(ctx, h.host, n); err != nil {
		return overloaded("the requests under way take all the memory that there is for them: ask again")
	}
	return nil
}

// roomFor returns how many bytes of memory may be taken to decode the body and to
// answer it.
func roomFor(body []byte) (int64, error) {
	items, err := countItems(body)
	return int64(len(body) + items*itemBytes + bytes.Count(body, []byte(`"`))*quoteBytes), err
}

// countItems returns at least the number of objects in lists, or an error if
// there are too many of them. It counts braces, which is quick, but neither those
// after a colon, which begin a member's value, as most of managedFields do, nor
// those before a backslash, which are of JSON in a string, as in annotations. It
// looks closely if there are many: they may be in strings, or follow a space.
func countItems(body []byte) (int, error) {
	// null in a list becomes a value too.
	count := func(what string) int { return bytes.Count(body, []byte(what)) }
	items := count(`{`) - count(`:{`) - count(`{\`) + count(`:{\`) + count(`null`) - count(`:null`)
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
