package objectcache

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const key = "app"

// cluster simulates a cluster. A read returns its state at the start of the read.
type cluster struct {
	state    atomic.Int32
	reads    atomic.Int32
	underWay atomic.Int32
	most     atomic.Int32
}

// read takes a second, and returns the state at its start.
func (c *cluster) read(context.Context, string) (int32, error) {
	c.reads.Add(1)
	if now := c.underWay.Add(1); now > c.most.Load() {
		c.most.Store(now)
	}
	defer c.underWay.Add(-1)
	state := c.state.Load()
	time.Sleep(time.Second) // in synctest's time
	return state, nil
}

// unexpected fails the test if a read panics.
func unexpected(t *testing.T) func(context.Context, any) {
	return func(_ context.Context, value any) { t.Errorf("panic: %v", value) }
}

func TestGroup_burst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := newCoalescer(c.read, unexpected(t))
		for range 1000 {
			go func() { _, _ = reads.Do(t.Context(), key) }()
		}
		synctest.Wait()
		reads.Wait()
		if got := c.reads.Load(); got != 2 {
			t.Errorf("got %d reads for a burst of 1000 calls, want 2", got)
		}
		if got := c.most.Load(); got != 1 {
			t.Errorf("got %d concurrent reads, want 1", got)
		}
		if len(reads.flights) != 0 {
			t.Errorf("got %d remaining flights, want none", len(reads.flights))
		}
	})
}

func TestGroup_neverJoinsEarlierRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := newCoalescer(c.read, unexpected(t))
		go func() { _, _ = reads.Do(t.Context(), key) }()
		synctest.Wait()

		c.state.Store(1)
		got, err := reads.Do(t.Context(), key)
		if err != nil || got != 1 {
			t.Errorf("the read missed a write before the call: got %d, %v", got, err)
		}
		reads.Wait()
	})
}

func TestGroup_independentKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := newCoalescer(c.read, unexpected(t))
		for _, name := range []string{"a", "b", "c"} {
			go func() { _, _ = reads.Do(t.Context(), name) }()
		}
		synctest.Wait()
		if got := c.underWay.Load(); got != 3 {
			t.Errorf("got %d concurrent reads, want 3", got)
		}
		reads.Wait()
	})
}

func TestGroup_canceledCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		c.state.Store(1)
		reads := newCoalescer(c.read, unexpected(t))
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := reads.Do(impatient, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if got, err := reads.Do(t.Context(), key); err != nil || got != 1 {
			t.Errorf("got %d, %v", got, err)
		}
		reads.Wait()
	})
}

// TestGroup_panic checks that a panic fails only the read that panics.
func TestGroup_panic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began, panics atomic.Int32
		reads := newCoalescer(func(context.Context, string) (int32, error) {
			this := began.Add(1)
			time.Sleep(time.Second) // in synctest's time
			if this < 3 {
				panic(this)
			}
			return this, nil
		}, func(_ context.Context, value any) {
			if got := panics.Add(1); value != got {
				t.Errorf("got panic %v, want %d", value, got)
			}
			if !strings.Contains(string(debug.Stack()), "TestGroup_panic.func1.1(") {
				t.Errorf("the stack has no frame of the read:\n%s", debug.Stack())
			}
		})
		var failed atomic.Int32
		do := func() {
			if _, err := reads.Do(t.Context(), key); errors.Is(err, ErrPanic) {
				failed.Add(1)
			}
		}
		go do()
		synctest.Wait()
		for range 10 {
			go do() // these share the second read
		}
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond) // in synctest's time: the second is in flight
		got, err := reads.Do(t.Context(), key)
		if err != nil || got != 3 {
			t.Errorf("after the panics: got %d, %v; want 3", got, err)
		}
		reads.Wait()
		if got := failed.Load(); got != 11 {
			t.Errorf("got the error for %d readers, want 11", got)
		}
		if got := panics.Load(); got != 2 {
			t.Errorf("got %d reported panics, want 2", got)
		}
		if len(reads.flights) != 0 {
			t.Errorf("got %d remaining flights, want none", len(reads.flights))
		}
	})
}

// TestGroup_panicWithoutReaders checks that a read is cleaned up if all its readers are
// gone.
func TestGroup_panicWithoutReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := newCoalescer(func(context.Context, string) (int32, error) {
			time.Sleep(time.Second) // in synctest's time
			panic("after all readers have gone")
		}, func(context.Context, any) {})
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := reads.Do(impatient, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		reads.Wait()
		if len(reads.flights) != 0 {
			t.Errorf("got %d remaining flights, want none", len(reads.flights))
		}
	})
}
