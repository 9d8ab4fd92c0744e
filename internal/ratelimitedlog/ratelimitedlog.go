// Package ratelimitedlog limits the log lines of events that clients can cause without
// limit.
package ratelimitedlog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Burst is the number of lines of each kind that are logged without a limit.
	Burst = 10
	// Interval is the minimum time between two lines of a kind after that.
	Interval = 10 * time.Second
)

// Logger is a log with a limit for each kind of event. Metrics should count every event,
// because the log does not.
type Logger struct {
	logger *slog.Logger

	mu    sync.Mutex
	kinds map[string]*rate.Sometimes
}

// New returns a Logger that writes to logger.
func New(logger *slog.Logger) *Logger {
	return &Logger{logger: logger, kinds: map[string]*rate.Sometimes{}}
}

// Log logs an event, unless the limit of its kind is reached. Use few kinds, because the
// Logger keeps a limit for each.
func (l *Logger) Log(ctx context.Context, level slog.Level, message, kind string, args ...any) {
	l.limit(kind).Do(func() { l.logger.Log(ctx, level, message, args...) }) //nolint:sloglint // the constant of the caller
}

func (l *Logger) limit(kind string) *rate.Sometimes {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.kinds[kind]
	if limit == nil {
		limit = &rate.Sometimes{First: Burst, Interval: Interval}
		l.kinds[kind] = limit
	}
	return limit
}
