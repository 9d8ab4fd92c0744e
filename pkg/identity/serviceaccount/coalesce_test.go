package serviceaccount

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

var app = types.NamespacedName{Namespace: "default", Name: "app"}

// cluster stands for what can be read: its role at the moment a read begins.
type cluster struct {
	role     atomic.Pointer[identity.Identity]
	reads    atomic.Int32
	underWay atomic.Int32
	most     atomic.Int32
}

// read takes a second, and answers with what was so when it began.
func (c *cluster) read(context.Context, types.NamespacedName) (*identity.Identity, error) {
	c.reads.Add(1)
	if now := c.underWay.Add(1); now > c.most.Load() {
		c.most.Store(now)
	}
	defer c.underWay.Add(-1)
	role := c.role.Load()
	time.Sleep(time.Second) // in synctest's time
	return role, nil
}

func TestABurstCostsOneReadUnderWayAndOneWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := newCoalescer(c.read)
		for range 1000 {
			go func() { _, _ = reads.do(t.Context(), app) }()
		}
		synctest.Wait()
		reads.wait()
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
		reads := newCoalescer(c.read)
		go func() { _, _ = reads.do(t.Context(), app) }()
		synctest.Wait()

		written := &identity.Identity{RoleARN: "arn:aws:iam::111122223333:role/app"}
		c.role.Store(written)
		got, err := reads.do(t.Context(), app)
		if err != nil || got != written {
			t.Errorf("what was written before the call was missed: got %+v, %v", got, err)
		}
		reads.wait()
	})
}

func TestReadsOfDifferentNamesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		reads := newCoalescer(c.read)
		for _, name := range []string{"a", "b", "c"} {
			go func() { _, _ = reads.do(t.Context(), types.NamespacedName{Namespace: "default", Name: name}) }()
		}
		synctest.Wait()
		if got := c.underWay.Load(); got != 3 {
			t.Errorf("%d reads at once, want 3", got)
		}
		reads.wait()
	})
}

func TestWhoGoesAwayDoesNotEndTheReadOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		c.role.Store(&identity.Identity{RoleARN: "arn:aws:iam::111122223333:role/app"})
		reads := newCoalescer(c.read)
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := reads.do(impatient, app); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if got, err := reads.do(t.Context(), app); err != nil || got == nil {
			t.Errorf("got %+v, %v", got, err)
		}
		reads.wait()
	})
}
