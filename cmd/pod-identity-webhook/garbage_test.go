package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

// TestTheCollectorRestsOnceReady takes the settings of the test's own process.
func TestTheCollectorRestsOnceReady(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	before, limit := percent(), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(before)
		debug.SetMemoryLimit(limit)
	}()
	for name, test := range map[string]struct {
		gogc  string
		limit int64
		ready bool
		want  int
	}{
		"ready":                          {"", 1 << 40, true, maxGCPercent},
		"never ready":                    {"", 1 << 40, false, 100},
		"ready, with no limit of memory": {"", math.MaxInt64, true, 100},
		"ready, a user chose":            {"150", 1 << 40, true, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", test.gogc)
			debug.SetGCPercent(100)
			debug.SetMemoryLimit(test.limit)
			runtime.GC() // what a test keeps is little
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*gcInterval)
				defer cancel()
				asked := 0
				collectLessOnceReady(func() bool {
					asked++
					return test.ready && asked > 2
				})(ctx)
			})
			if got := percent(); got != test.want {
				t.Errorf("GOGC is %d, want %d", got, test.want)
			}
		})
	}
}

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 100 << 20: 100,
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
