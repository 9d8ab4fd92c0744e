package serviceaccount

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// coalescer shares reads of the same ServiceAccount among those who ask at the
// same time. Unlike singleflight it never lets a caller join a read that began
// before the caller came: such a read may have seen the ServiceAccount as it
// was before the caller's pod was made possible. So, for each name, at most one
// read is under way and at most one waits for it, whatever the burst.
type coalescer struct {
	read func(context.Context, types.NamespacedName) (*identity.Identity, error)

	mu      sync.Mutex
	flights map[types.NamespacedName]*flight
	running sync.WaitGroup
}

// flight is the read under way for a name, and the one that starts after it.
type flight struct {
	next *read
}

// read is one read and its outcome, which may be looked at once done is closed.
type read struct {
	done  chan struct{}
	found *identity.Identity
	err   error
}

func newCoalescer(fn func(context.Context, types.NamespacedName) (*identity.Identity, error)) *coalescer {
	return &coalescer{read: fn, flights: map[types.NamespacedName]*flight{}}
}

// do returns the outcome of a read of name that begins after do is called, or
// ctx's error if ctx is done first. The read itself goes on: others wait for it.
func (c *coalescer) do(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	joined := c.join(ctx, name)
	select {
	case <-joined.done:
		return joined.found, joined.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from the API server in time: %w", ctx.Err())
	}
}

// wait returns when no read is under way.
func (c *coalescer) wait() { c.running.Wait() }

func (c *coalescer) join(ctx context.Context, name types.NamespacedName) *read {
	c.mu.Lock()
	defer c.mu.Unlock()
	current, busy := c.flights[name]
	if !busy {
		first := &read{done: make(chan struct{})}
		c.flights[name] = &flight{}
		// The read is no single caller's, so it must not end with one; the
		// reader sets its deadline.
		shared := context.WithoutCancel(ctx)
		c.running.Go(func() { c.run(shared, name, first) })
		return first
	}
	if current.next == nil {
		current.next = &read{done: make(chan struct{})}
	}
	return current.next
}

// run does the given read, and then those that were asked for meanwhile.
func (c *coalescer) run(ctx context.Context, name types.NamespacedName, r *read) {
	for r != nil {
		r.found, r.err = c.read(ctx, name)
		close(r.done)
		r = c.advance(name)
	}
}

func (c *coalescer) advance(name types.NamespacedName) *read {
	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.flights[name]
	next := current.next
	current.next = nil
	if next == nil {
		delete(c.flights, name)
	}
	return next
}
