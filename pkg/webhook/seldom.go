package webhook

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// seldomLines are written in each seldomInterval, for each kind of event.
	seldomLines    = 10
	seldomInterval = 10 * time.Second
)

// seldom is a log for what strangers can bring about as often as they like. It
// writes a few lines of each kind in an interval, and with the first of the next
// how many were left out. Metrics count them all.
type seldom struct {
	logger *slog.Logger

	mu    sync.Mutex
	kinds map[string]*tally
}

type tally struct {
	since            time.Time
	written, leftOut int
}

func newSeldom(logger *slog.Logger) *seldom {
	return &seldom{logger: logger, kinds: map[string]*tally{}}
}

// log takes kinds of which there are few.
func (s *seldom) log(ctx context.Context, level slog.Level, message, kind string, args ...any) {
	leftOut, ok := s.may(kind, time.Now())
	if !ok {
		return
	}
	if leftOut > 0 {
		args = append(args, "leftOut", leftOut)
	}
	s.logger.Log(ctx, level, message, args...)
}

// may says whether a line of the kind may be written, and how many were left out
// before it.
func (s *seldom) may(kind string, now time.Time) (leftOut int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.kinds[kind]
	if t == nil || now.Sub(t.since) >= seldomInterval {
		if t != nil {
			leftOut = t.leftOut
		}
		t = &tally{since: now}
		s.kinds[kind] = t
	}
	if t.written == seldomLines {
		t.leftOut++
		return 0, false
	}
	t.written++
	return leftOut, true
}
