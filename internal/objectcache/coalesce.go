package objectcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrPanic is the error of a read that panicked.
var ErrPanic = errors.New("the read panicked")

// coalescer shares reads by key. Unlike with singleflight, a caller never joins a read
// that started before the call. That read may have missed a write that the caller has
// already seen. For each key, at most one read is in flight and at most one waits for
// it, for any number of callers.
type coalescer[K comparable, V any] struct {
	fetch    func(context.Context, K) (V, error)
	panicked func(ctx context.Context, value any)

	mu      sync.Mutex
	flights map[K]*flight[V]
	running sync.WaitGroup
}

// flight is the read in flight for a key, and the one that starts after it.
type flight[V any] struct {
	next *sharedRead[V]
}

// sharedRead is one read with its result, which is valid after done is closed.
type sharedRead[V any] struct {
	done  chan struct{}
	found V
	err   error
}

// newCoalescer returns a coalescer that reads with fetch. fetch must set its own
// deadline. If fetch panics, the callers that wait get ErrPanic: they run on other
// goroutines, so they cannot recover the panic. panicked is called once with the value
// of the panic, on the goroutine of fetch, so that debug.Stack has its frames.
func newCoalescer[K comparable, V any](fetch func(context.Context, K) (V, error), panicked func(ctx context.Context, value any)) *coalescer[K, V] {
	return &coalescer[K, V]{fetch: fetch, panicked: panicked, flights: map[K]*flight[V]{}}
}

// Do returns the result of a read of key that starts after Do is called. It returns an
// error that wraps that of ctx if ctx is done first. The read continues then, because
// other callers wait for it.
func (g *coalescer[K, V]) Do(ctx context.Context, key K) (V, error) {
	joined := g.join(ctx, key)
	select {
	case <-joined.done:
		return joined.found, joined.err
	case <-ctx.Done():
		var none V
		return none, fmt.Errorf("no response in time: %w", ctx.Err())
	}
}

// Wait waits until no read is in flight.
func (g *coalescer[K, V]) Wait() { g.running.Wait() }

func (g *coalescer[K, V]) join(ctx context.Context, key K) *sharedRead[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	current, busy := g.flights[key]
	if !busy {
		first := &sharedRead[V]{done: make(chan struct{})}
		g.flights[key] = &flight[V]{}
		// Callers share the read, so it must not end with one of them.
		shared := context.WithoutCancel(ctx)
		g.running.Go(func() { g.run(shared, key, first) })
		return first
	}
	if current.next == nil {
		current.next = &sharedRead[V]{done: make(chan struct{})}
	}
	return current.next
}

// run does the given read, and then the reads that were requested in the meantime.
func (g *coalescer[K, V]) run(ctx context.Context, key K, r *sharedRead[V]) {
	for r != nil {
		r.found, r.err = g.recovered(ctx, key)
		close(r.done)
		r = g.advance(key)
	}
}

// recovered calls fetch, and returns ErrPanic if fetch panics.
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
