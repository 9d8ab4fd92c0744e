package objectcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrPanic is the error of a read that panicked.
var ErrPanic = errors.New("the read panicked")

// coalescer shares reads by key. Unlike singleflight it never lets a caller join a
// read that began before the caller came: such a read may have seen the thing as
// it was before what the caller knows was written. So, for each key, at most one
// read is under way and at most one waits for it, whatever the burst.
type coalescer[K comparable, V any] struct {
	fetch    func(context.Context, K) (V, error)
	panicked func(ctx context.Context, value any)

	mu      sync.Mutex
	flights map[K]*flight[V]
	running sync.WaitGroup
}

// flight is the read under way for a key, and the one that starts after it.
type flight[V any] struct {
	next *sharedRead[V]
}

// sharedRead is one read and its outcome, which may be looked at once done is closed.
type sharedRead[V any] struct {
	done  chan struct{}
	found V
	err   error
}

// newCoalescer returns a coalescer of reads by fetch, which sets its own deadline. A panic of fetch
// is ErrPanic to the callers that wait: they are not on its goroutine, so none of them
// could recover it. panicked is called with the value of the panic, once and on its
// goroutine, so that debug.Stack has the frames of fetch.
func newCoalescer[K comparable, V any](fetch func(context.Context, K) (V, error), panicked func(ctx context.Context, value any)) *coalescer[K, V] {
	return &coalescer[K, V]{fetch: fetch, panicked: panicked, flights: map[K]*flight[V]{}}
}

// Do returns the outcome of a read of key that begins after Do is called, or an
// error of ctx if ctx is done first. The read itself goes on: others wait for it.
func (g *coalescer[K, V]) Do(ctx context.Context, key K) (V, error) {
	joined := g.join(ctx, key)
	select {
	case <-joined.done:
		return joined.found, joined.err
	case <-ctx.Done():
		var none V
		return none, fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// Wait returns when no read is under way.
func (g *coalescer[K, V]) Wait() { g.running.Wait() }

func (g *coalescer[K, V]) join(ctx context.Context, key K) *sharedRead[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	current, busy := g.flights[key]
	if !busy {
		first := &sharedRead[V]{done: make(chan struct{})}
		g.flights[key] = &flight[V]{}
		// The read is no single caller's, so it must not end with one.
		shared := context.WithoutCancel(ctx)
		g.running.Go(func() { g.run(shared, key, first) })
		return first
	}
	if current.next == nil {
		current.next = &sharedRead[V]{done: make(chan struct{})}
	}
	return current.next
}

// run does the given read, and then those that were asked for meanwhile.
func (g *coalescer[K, V]) run(ctx context.Context, key K, r *sharedRead[V]) {
	for r != nil {
		r.found, r.err = g.recovered(ctx, key)
		close(r.done)
		r = g.advance(key)
	}
}

// recovered fetches, and returns ErrPanic if that panics.
func (g *coalescer[K, V]) recovered(ctx context.Context, key K) (found V, err error) {
	defer func() {
		if value := recover(); value != nil {
			g.panicked(ctx, value)
			err = ErrPanic
		}
	}()
	return g.fetch(ctx, key)
}

func (g *coalescer[K, V]) advance(key K) *sharedRead[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	current := g.flights[key]
	next := current.next
	current.next = nil
	if next == nil {
		delete(g.flights, key)
	}
	return next
}
