package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// readyGCPercent is the collector's GOGC once the webhook is ready. What it keeps then
// is small, some MiB, so that Go's 100 collects hundreds of times a second under load;
// with 200 an admission takes less CPU for a few MiB more. While the ServiceAccounts
// are listed 100 it stays: then most of the heap is garbage, and 200 would be the
// process's peak. docs/decisions/0013-hot-path.md has the numbers.
const readyGCPercent = 200

const readyPollInterval = 100 * time.Millisecond

// collectLessOnceReady returns a part that sets readyGCPercent when ready says so, and
// leaves alone what a user chose.
func collectLessOnceReady(ready func() bool) func(context.Context) {
	return func(ctx context.Context) {
		if os.Getenv("GOGC") != "" {
			return
		}
		err := wait.PollUntilContextCancel(ctx, readyPollInterval, true, func(context.Context) (bool, error) { return ready(), nil })
		if err == nil {
			debug.SetGCPercent(readyGCPercent)
		}
	}
}
