// Package ratelimitedlog logs events that clients can cause as often as they like.
package ratelimitedlog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Burst is how many lines of each kind are logged without a limit.
	Burst = 10
	// Interval is the shortest time between two lines of a kind after that.
	Interval = 10 * time.Second
)

// Logger is a log with a limit for each kind of event. Metrics should count what is
// not logged.
type Logger struct {
	logger *slog.Logger

	mu    sync.Mutex
	kinds map[string]*rate.Sometimes
}

// New returns a Logger that writes to logger.
func New(logger *slog.Logger) *Logger {
	return &Logger{logger: logger, kinds: map[string]*rate.Sometimes{}}
}

// Log logs an event, unless there were too many of its kind. There must be few kinds.
func (l *Logger) Log(ctx context.Context, level slog.Level, message, kind string, args ...any) {
	l.limit(kind).Do(func() { l.logger.Log(ctx, level, message, args...) })
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
