package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

// TestTheCollectorRelaxesOnceReady takes the settings of the test's own process.
func TestTheCollectorRelaxesOnceReady(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	before := percent()
	defer debug.SetGCPercent(before)
	for name, test := range map[string]struct {
		gogc  string
		ready bool
		want  int
	}{
		"ready":               {"", true, maxGCPercent},
		"never ready":         {"", false, 100},
		"ready, a user chose": {"150", true, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", test.gogc)
			debug.SetGCPercent(100)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*readyPollInterval)
				defer cancel()
				runtime.GC() // what a test keeps is little
				asked := 0
				collectLessOnceReady(func() bool {
					asked++
					return test.ready && asked > 2
				})(ctx)
				if test.ready && ctx.Err() != nil {
					t.Error("it does not end")
				}
			})
			if got := percent(); got != test.want {
				t.Errorf("GOGC is %d, want %d", got, test.want)
			}
		})
	}
}

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 5 << 20: 400, 10 << 20: 200, 15 << 20: 133, 20 << 20: 100, 100 << 20: 100,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
	runtime.GC()
	if live := liveBytes(); live == 0 || live > 1<<30 {
		t.Errorf("%d bytes are live", live)
	}
}
