package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// readyGarbage is how much garbage may gather, in bytes, once the webhook is ready.
	// What it keeps then is a few MiB in most clusters, of which Go's 100 % are soon
	// full: under load it would collect a hundred times a second. While the
	// ServiceAccounts are listed it stays at 100 %, since most of the heap is garbage
	// then, and more of it would be the peak of the process.
	// docs/decisions/0013-hot-path.md has the numbers.
	readyGarbage = 16 << 20
	// maxGCPercent is where more stops to help, and minGCPercent is Go's choice.
	minGCPercent, maxGCPercent = 100, 400

	readyPollInterval = 100 * time.Millisecond
	// gcInterval is how often what is kept is looked at: clusters grow in hours.
	gcInterval = time.Minute
)

// collectLessOnceReady returns a part that sets the collector's GOGC as soon as ready
// says so, and as what is kept grows. It leaves alone what a user chose, and does
// nothing without a memory limit: all that attacks can make of the heap would be
// followed by as much more garbage.
func collectLessOnceReady(ready func() bool) func(context.Context) {
	return func(ctx context.Context) {
		if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) == math.MaxInt64 {
			return
		}
		err := wait.PollUntilContextCancel(ctx, readyPollInterval, true, func(context.Context) (bool, error) { return ready(), nil })
		if err != nil {
			return
		}
		set := minGCPercent
		wait.UntilWithContext(ctx, func(context.Context) {
			if percent := gcPercent(liveBytes()); percent != set {
				debug.SetGCPercent(percent)
				set = percent
			}
		}, gcInterval)
	}
}

// gcPercent returns the GOGC with which a heap of so many live bytes gathers
// readyGarbage.
func gcPercent(live uint64) int {
	return int(min(max(100*readyGarbage/max(live, 1), minGCPercent), maxGCPercent))
}

// liveBytes is what the last collection found in use.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
