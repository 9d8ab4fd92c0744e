package ratelimitedlog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
)

func TestLogger_limitsEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := ratelimitedlog.New(slog.New(slog.NewTextHandler(&log, nil)))
		logTwice := func(times int) {
			for i := range times {
				logger.Log(t.Context(), slog.LevelWarn, "Rejected request", "first", "n", i)
				logger.Log(t.Context(), slog.LevelWarn, "Rejected request", "second", "n", i)
			}
		}
		lines := func() int { return strings.Count(log.String(), "\n") }
		logTwice(100)
		if got, want := lines(), 2*ratelimitedlog.Burst; got != want {
			t.Errorf("got %d lines, want %d", got, want)
		}
		time.Sleep(ratelimitedlog.Interval)
		logTwice(100)
		if got, want := lines(), 2*ratelimitedlog.Burst+2; got != want {
			t.Errorf("got %d lines after the interval, want %d", got, want)
		}
	})
}
