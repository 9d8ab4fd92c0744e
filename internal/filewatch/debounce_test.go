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
		looks := 0
		go watchLoop(ctx, watcher, nil, time.Hour, slog.New(slog.DiscardHandler), func() bool { looks++; return false })

		busy := time.NewTicker(debounceInterval / 100)
		defer busy.Stop()
		for range 1000 {
			<-busy.C
			watcher.Events <- fsnotify.Event{}
		}
		stop()
		synctest.Wait()
		if looks < 9 || looks > 10 {
			t.Errorf("%d looks in ten times the settle time, want one in each", looks)
		}
	})
}
