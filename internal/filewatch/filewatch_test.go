package filewatch_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/filewatch"
)

// deadline is much longer than any step, which takes milliseconds.
const deadline = 30 * time.Second

// watched records the calls of a Watch.
type watched struct {
	t *testing.T
	// checks has the content of the first file at each check, "" if it is missing.
	checks chan string
}

// start watches the files until the test ends. Each check is repeated while doubtful
// returns true.
func start(t *testing.T, log io.Writer, interval time.Duration, doubtful func(content string) bool, files ...string) *watched {
	t.Helper()
	f := &watched{t: t, checks: make(chan string)}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		filewatch.Watch(ctx, files, interval, slog.New(slog.NewTextHandler(log, nil)), func() bool {
			content, _ := os.ReadFile(files[0])
			select {
			case f.checks <- string(content):
			case <-ctx.Done():
			}
			return doubtful(string(content))
		})
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return f
}

func never(string) bool { return false }

// wantSeen waits until a check sees the content.
func (f *watched) wantSeen(content string) {
	f.t.Helper()
	late := time.After(deadline)
	for {
		select {
		case seen := <-f.checks:
			if seen == content {
				return
			}
		case <-late:
			f.t.Fatalf("%q was not seen within %v", content, deadline)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatch_changeBeforeStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "before")
	start(t, io.Discard, time.Hour, never, file).wantSeen("before")
}

func TestWatch_fileEvents(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "file")
	f := start(t, io.Discard, time.Hour, never, file)
	f.wantSeen("")
	write(t, file, "written")
	f.wantSeen("written")
	must(t, os.Remove(file))
	f.wantSeen("")
	write(t, filepath.Join(directory, "next"), "replaced")
	must(t, os.Rename(filepath.Join(directory, "next"), file))
	f.wantSeen("replaced")
}

func TestWatch_symlinkSwap(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "file")
	swap := func(content string) {
		must(t, os.Mkdir(filepath.Join(directory, content), 0o700))
		write(t, filepath.Join(directory, content, "file"), content)
		must(t, os.Symlink(content, filepath.Join(directory, "..data_tmp")))
		must(t, os.Rename(filepath.Join(directory, "..data_tmp"), filepath.Join(directory, "..data")))
	}
	swap("first")
	must(t, os.Symlink(filepath.Join("..data", "file"), file))
	f := start(t, io.Discard, time.Hour, never, file)
	f.wantSeen("first")
	swap("second")
	f.wantSeen("second")
}

func TestWatch_multipleFiles(t *testing.T) {
	one, other := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "other")
	write(t, one, "one")
	f := start(t, io.Discard, time.Hour, never, one, other)
	f.wantSeen("one")
	write(t, other, "other")
	f.wantSeen("one")
}

func TestWatch_retry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "half")
	looks := 0
	f := start(t, io.Discard, time.Hour, func(string) bool { looks++; return looks < 3 }, file)
	for range 3 {
		f.wantSeen("half")
	}
}

func TestWatch_missingDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "later")
	file := filepath.Join(directory, "file")
	var log bytes.Buffer
	f := start(t, &log, time.Millisecond, never, file)
	f.wantSeen("")
	// The log is written before the first check, so it can be read now.
	if !strings.Contains(log.String(), "Could not watch files") {
		t.Errorf("got log %q, want a warning that the files are polled", log.String())
	}
	must(t, os.Mkdir(directory, 0o700))
	write(t, file, "appeared")
	f.wantSeen("appeared")
}
