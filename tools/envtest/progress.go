package main

import (
	"fmt"
	"io"
	"time"
)

// progressInterval is the interval of progress lines.
const progressInterval = 5 * time.Second

// progressWriter counts the bytes, prints the progress, and calls stalled if no bytes arrive
// for some time.
type progressWriter struct {
	out, progress  io.Writer
	patience       time.Duration
	stalled        *time.Timer
	bytes          int64
	began, printed time.Time
}

func newProgressWriter(out, progress io.Writer, patience time.Duration, stalled func()) *progressWriter {
	now := time.Now()
	return &progressWriter{out: out, progress: progress, patience: patience, stalled: time.AfterFunc(patience, stalled), began: now, printed: now}
}

func (w *progressWriter) Write(p []byte) (int, error) {
	w.stalled.Reset(w.patience)
	n, err := w.out.Write(p)
	w.bytes += int64(n)
	if now := time.Now(); now.Sub(w.printed) >= progressInterval {
		w.printed = now
		_, _ = fmt.Fprintf(w.progress, "downloading the control plane: %d MB after %s\n", w.bytes>>20, now.Sub(w.began).Round(time.Second))
	}
	return n, err
}

func (w *progressWriter) stop() { w.stalled.Stop() }
