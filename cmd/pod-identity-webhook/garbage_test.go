package main

import (
	"context"
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
		"ready":               {"", true, readyGCPercent},
		"never ready":         {"", false, 100},
		"ready, a user chose": {"150", true, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", test.gogc)
			debug.SetGCPercent(100)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*readyPollInterval)
				defer cancel()
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
