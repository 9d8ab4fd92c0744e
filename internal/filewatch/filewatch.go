// Package filewatch looks at files again when they change. What is in them is its
// callers' business.
package filewatch

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// PollInterval is how often files should be looked at when no event has told of
// a change: events are lost on some file systems, and for files whose directory is
// replaced as a whole.
const PollInterval = 10 * time.Second

// debounceInterval is how long files are let alone after an event: whoever writes one
// is about to write the next.
const debounceInterval = 100 * time.Millisecond

// Watch calls look when any of the files may have changed, at the latest after
// interval, until ctx is done. Where changes cannot be watched it still polls.
// look says whether to look again soon: what it saw may have been caught
// half-written.
func Watch(ctx context.Context, files []string, interval time.Duration, logger *slog.Logger, look func() (again bool)) {
	watcher, err := watchDirs(files)
	if err != nil {
		logger.WarnContext(ctx, "files cannot be watched, they are polled", "files", files, "error", err, "interval", interval)
		watcher = &fsnotify.Watcher{}
	} else {
		defer func() { _ = watcher.Close() }()
	}
	watchLoop(ctx, watcher, files, interval, logger, look)
}

func watchLoop(ctx context.Context, watcher *fsnotify.Watcher, files []string, interval time.Duration, logger *slog.Logger, look func() (again bool)) {
	poll := time.NewTicker(interval)
	defer poll.Stop()
	// settled runs from the first of a burst of events; it is not put off by the
	// next, or a busy neighbour of the files could put it off for ever. It runs
	// now since what changed before the watch began has no event.
	settled := time.After(debounceInterval)
	for {
		var again bool
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
			again = true
		case err := <-watcher.Errors:
			logger.WarnContext(ctx, "an event of files was lost, they are polled", "files", files, "error", err, "interval", interval)
		case <-settled:
			settled = nil
			again = look()
		case <-poll.C:
			again = look()
		}
		if again && settled == nil {
			settled = time.After(debounceInterval)
		}
	}
}

// watchDirs watches the directories of the files, not the files: a file that is
// replaced takes its watch with it, and a mounted Secret or ConfigMap changes by
// a symbolic link beside the files.
func watchDirs(files []string) (*fsnotify.Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := watcher.Add(filepath.Dir(file)); err != nil {
			_ = watcher.Close()
			return nil, fmt.Errorf("directory of %s: %w", file, err)
		}
	}
	return watcher, nil
}
