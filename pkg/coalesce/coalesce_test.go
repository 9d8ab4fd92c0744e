package coalesce

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const app = "app"

// cluster stands for what can be read: its state at the moment a read begins.
type cluster struct {
	state    atomic.Int32
	reads    atomic.Int32
	underWay atomic.Int32
	most     atomic.Int32
}

// read takes a second, and answers with what was so when it began.
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

func TestABurstCostsOneReadUnderWayAndOneWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := New(c.read)
		for range 1000 {
			go func() { _, _ = reads.Do(t.Context(), app) }()
		}
		synctest.Wait()
		reads.Wait()
		if got := c.reads.Load(); got != 2 {
			t.Errorf("a burst of 1000 cost %d reads, want 2", got)
		}
		if got := c.most.Load(); got != 1 {
			t.Errorf("%d reads at once, want 1", got)
		}
		if len(reads.flights) != 0 {
			t.Errorf("%d flights are left", len(reads.flights))
		}
	})
}

func TestNobodyJoinsAReadThatBeganBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := New(c.read)
		go func() { _, _ = reads.Do(t.Context(), app) }()
		synctest.Wait()

		c.state.Store(1)
		got, err := reads.Do(t.Context(), app)
		if err != nil || got != 1 {
			t.Errorf("what was written before the call was missed: got %d, %v", got, err)
		}
		reads.Wait()
	})
}

func TestReadsOfDifferentNamesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := New(c.read)
		for _, name := range []string{"a", "b", "c"} {
			go func() { _, _ = reads.Do(t.Context(), name) }()
		}
		synctest.Wait()
		if got := c.underWay.Load(); got != 3 {
			t.Errorf("%d reads at once, want 3", got)
		}
		reads.Wait()
	})
}

func TestWhoGoesAwayDoesNotEndTheReadOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		c.state.Store(1)
		reads := New(c.read)
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := reads.Do(impatient, app); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if got, err := reads.Do(t.Context(), app); err != nil || got != 1 {
			t.Errorf("got %d, %v", got, err)
		}
		reads.Wait()
	})
}
