package filewatch

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestWatch_unrelatedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		watcher := &fsnotify.Watcher{Events: make(chan fsnotify.Event)}
		checks := 0
		go watchLoop(ctx, watcher, nil, time.Hour, slog.New(slog.DiscardHandler), func() bool { checks++; return false })

		busy := time.NewTicker(debounceInterval / 100)
		defer busy.Stop()
		for range 1000 {
			<-busy.C
			watcher.Events <- fsnotify.Event{}
		}
		stop()
		synctest.Wait()
		if checks < 9 || checks > 10 {
			t.Errorf("got %d checks in ten debounce intervals, want one in each", checks)
		}
	})
}
