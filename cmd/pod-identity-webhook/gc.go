package main

import (
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// targetGarbageBytes is the amount of garbage, in bytes, between two garbage
	// collections after the webhook is ready. In most clusters the live heap then has a
	// few MiB. With Go's default of 100 %, the runtime would collect a hundred times per
	// second under load. While the ServiceAccounts are listed, GOGC stays at 100 %. Most
	// of the heap is garbage then, and more of it would raise the peak memory. The file
	// docs/decisions/0013-hot-path.md has the numbers.
	targetGarbageBytes = 16 << 20
	// minGCPercent is Go's default. A value above maxGCPercent has no further benefit.
	minGCPercent, maxGCPercent = 100, 400
	// gcPercentStep rounds the value, so that it is not set after each collection.
	gcPercentStep = 50

	readyPollInterval = 100 * time.Millisecond
)

// tuneGC returns a function that sets GOGC after each garbage collection, once ready
// returns true, until its context is done. With a small live heap it allows more garbage.
// With a large one, for example after a long list or under attack, it uses the default. It
// does nothing if the user has set GOGC or if there is no memory limit.
func tuneGC(ready func() bool) func(context.Context) {
	return func(ctx context.Context) {
		if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) == math.MaxInt64 {
			return
		}
		err := wait.PollUntilContextCancel(ctx, readyPollInterval, true, func(context.Context) (bool, error) { return ready(), nil })
		if err != nil {
			return
		}
		for set := minGCPercent; ; {
			if percent := gcPercentFor(liveBytes()); percent != set {
				debug.SetGCPercent(percent)
				set = percent
			}
			select {
			case <-ctx.Done():
				return
			case <-afterNextGC():
			}
		}
	}
}

// afterNextGC returns a channel that is closed after the next garbage collection. That
// collection finds an unreachable value, whose cleanup closes the channel.
func afterNextGC() <-chan struct{} {
	collected := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(collected chan struct{}) { close(collected) }, collected)
	return collected
}

// gcPercentFor returns the GOGC for which a heap with live bytes collects after
// targetGarbageBytes of garbage.
func gcPercentFor(live uint64) int {
	percent := 100 * targetGarbageBytes / max(live, 1)
	return int(min(max(percent-percent%gcPercentStep, minGCPercent), maxGCPercent))
}

// liveBytes returns the size of the live heap after the last garbage collection.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
