// Package filewatch calls a function when files change. The function reads the files.
package filewatch

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// PollInterval is how often callers should poll files in addition to events. Events are
// lost on some file systems, and for files whose directory is replaced.
const PollInterval = 10 * time.Second

// debounceInterval is the wait between an event and the check: the writer of one file
// usually writes the next one at once.
const debounceInterval = 100 * time.Millisecond

// Watch calls check when any of the files may have changed, and at least once per
// interval, until ctx is done. If it cannot watch the files, it only polls them. check
// reports whether to check again soon, because a file may be only half written.
func Watch(ctx context.Context, files []string, interval time.Duration, logger *slog.Logger, check func() (again bool)) {
	watcher, err := watchDirs(files)
	if err != nil {
		logger.WarnContext(ctx, "Could not watch files, polling them", "files", files, "error", err, "interval", interval.String())
		watcher = &fsnotify.Watcher{}
	} else {
		defer func() { _ = watcher.Close() }()
	}
	watchLoop(ctx, watcher, files, interval, logger, check)
}

func watchLoop(ctx context.Context, watcher *fsnotify.Watcher, files []string, interval time.Duration, logger *slog.Logger, check func() (again bool)) {
	poll := time.NewTicker(interval)
	defer poll.Stop()
	// settled starts with the first of a burst of events. Later events do not restart
	// it; otherwise frequent events in the same directory could delay a check forever.
	// It starts now, because changes before the watch started have no event.
	settled := time.After(debounceInterval)
	for {
		var again bool
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
			again = true
		case err := <-watcher.Errors:
			logger.WarnContext(ctx, "Lost a file event, polling the files", "files", files, "error", err, "interval", interval.String())
		case <-settled:
			settled = nil
			again = check()
		case <-poll.C:
			again = check()
		}
		if again && settled == nil {
			settled = time.After(debounceInterval)
		}
	}
}

// watchDirs watches the directories of the files and not the files. A watch of a file
// ends when the file is replaced. A mounted Secret or ConfigMap changes through a
// symbolic link next to the files. It returns an error if it cannot watch a directory.
func watchDirs(files []string) (*fsnotify.Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := watcher.Add(filepath.Dir(file)); err != nil {
			_ = watcher.Close()
			return nil, fmt.Errorf("watch directory of %s: %w", file, err)
		}
	}
	return watcher, nil
}
