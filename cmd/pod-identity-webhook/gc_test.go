package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

// gogc returns the GOGC of this process.
func gogc() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// collectUntil collects garbage until GOGC has the value, and reports whether it has within
// 10 s.
func collectUntil(want int) bool {
	for end := time.Now().Add(10 * time.Second); gogc() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		runtime.GC()
	}
	return true
}

// TestTuneGC_afterReady changes the settings of the test process.
func TestTuneGC_afterReady(t *testing.T) {
	before, limit := gogc(), debug.SetMemoryLimit(1<<40)
	t.Setenv("GOGC", "")
	debug.SetGCPercent(minGCPercent)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	var running sync.WaitGroup
	running.Go(func() {
		tuneGC(func() bool {
			if gogc() != minGCPercent {
				t.Error("GOGC is set before everything is ready")
			}
			calls++
			return calls > 2
		})(ctx)
	})
	defer func() {
		cancel()
		running.Wait()
		debug.SetGCPercent(before)
		debug.SetMemoryLimit(limit)
	}()
	if !collectUntil(maxGCPercent) {
		t.Errorf("with a small heap: got GOGC %d, want %d", gogc(), maxGCPercent)
	}
	much := make([]byte, 64<<20)
	if !collectUntil(minGCPercent) {
		t.Errorf("with a large heap: got GOGC %d, want %d", gogc(), minGCPercent)
	}
	runtime.KeepAlive(much)
	if !collectUntil(maxGCPercent) {
		t.Errorf("with a small heap again: got GOGC %d, want %d", gogc(), maxGCPercent)
	}
}

func TestTuneGC_userSettings(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	for name, test := range map[string]struct {
		gogc  string
		limit int64
	}{
		"GOGC set by the user": {"150", 1 << 40},
		"no memory limit":      {"", math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", test.gogc)
			debug.SetMemoryLimit(test.limit)
			tuneGC(func() bool {
				t.Error("ready is called")
				return false
			})(t.Context())
		})
	}
}

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 4 << 20: 400, 5 << 20: 300, 8 << 20: 200, 16 << 20: 100, 100 << 20: 100,
	} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("%d bytes: got %d, want %d", live, got, want)
		}
	}
}
