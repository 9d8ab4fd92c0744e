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
	// targetGarbageBytes is how much garbage may gather, in bytes, once the webhook is ready.
	// What it keeps then is a few MiB in most clusters, of which Go's 100 % are soon
	// full: under load it would collect a hundred times a second. While the
	// ServiceAccounts are listed it stays at 100 %, since most of the heap is garbage
	// then, and more of it would be the peak of the process.
	// docs/decisions/0013-hot-path.md has the numbers.
	targetGarbageBytes = 16 << 20
	// maxGCPercent is where more stops to help, and minGCPercent is Go's choice.
	minGCPercent, maxGCPercent = 100, 400
	// gcPercentStep keeps it from being set after each collection.
	gcPercentStep = 50

	readyPollInterval = 100 * time.Millisecond
)

// tuneGC returns a part that, once ready says so, sets the collector's
// GOGC after each collection by what that has found in use: in a small heap garbage may
// gather, and one that is large, as of a long list or under attack, is collected as ever.
// It leaves alone what a user chose, and does nothing without a memory limit.
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

// afterNextGC returns a channel that is closed after the next collection: that
// finds a value of which nobody holds the address, and so the runtime cleans it up.
func afterNextGC() <-chan struct{} {
	collected := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(collected chan struct{}) { close(collected) }, collected)
	return collected
}

// gcPercentFor returns the GOGC with which a heap of so many live bytes gathers
// readyGarbage.
func gcPercentFor(live uint64) int {
	percent := 100 * targetGarbageBytes / max(live, 1)
	return int(min(max(percent-percent%gcPercentStep, minGCPercent), maxGCPercent))
}

// liveBytes is what the last collection found in use.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
