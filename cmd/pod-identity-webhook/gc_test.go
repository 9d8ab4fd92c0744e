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

// gogc is that of this process.
func gogc() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// collectUntil collects until GOGC is what is wanted, or a long time is over.
func collectUntil(want int) bool {
	for end := time.Now().Add(10 * time.Second); gogc() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		runtime.GC()
	}
	return true
}

// TestTuneGC_afterReady takes the settings of the test's own process.
func TestTuneGC_afterReady(t *testing.T) {
	before, limit := gogc(), debug.SetMemoryLimit(1<<40)
	t.Setenv("GOGC", "")
	debug.SetGCPercent(minGCPercent)
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	var running sync.WaitGroup
	running.Go(func() {
		tuneGC(func() bool {
			if gogc() != minGCPercent {
				t.Error("it is set before all is ready")
			}
			asked++
			return asked > 2
		})(ctx)
	})
	defer func() {
		cancel()
		running.Wait()
		debug.SetGCPercent(before)
		debug.SetMemoryLimit(limit)
	}()
	if !collectUntil(maxGCPercent) {
		t.Errorf("with little in use GOGC is %d, want %d", gogc(), maxGCPercent)
	}
	much := make([]byte, 64<<20)
	if !collectUntil(minGCPercent) {
		t.Errorf("with much in use GOGC is %d, want %d", gogc(), minGCPercent)
	}
	runtime.KeepAlive(much)
	if !collectUntil(maxGCPercent) {
		t.Errorf("with little in use again GOGC is %d, want %d", gogc(), maxGCPercent)
	}
}

func TestTuneGC_userSettings(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	for name, test := range map[string]struct {
		gogc  string
		limit int64
	}{
		"by a user's choice":     {"150", 1 << 40},
		"without a memory limit": {"", math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", test.gogc)
			debug.SetMemoryLimit(test.limit)
			tuneGC(func() bool {
				t.Error("it is asked")
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
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}
