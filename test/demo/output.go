package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Widths of columns. With the duration they make lines of 80 characters.
const (
	stepWidth   = 22
	detailWidth = 47
	keyWidth    = 14
)

// screen is where the story is told: in blocks, each with an empty line after
// it. A screen that cannot be written to is no reason to stop.
type screen struct {
	out     io.Writer
	verbose bool
}

// step is a part of the work that takes a moment.
type step struct {
	name string
	do   func(context.Context) (detail string, err error)
}

// value is a line of a table.
type value struct{ key, value string }

// step does a step and, if verbose, prints it with its result and how long it took.
func (s screen) step(ctx context.Context, step step) error {
	began := time.Now()
	detail, err := step.do(ctx)
	if err != nil {
		if s.verbose {
			s.gap()
		}
		return err
	}
	if !s.verbose {
		return nil
	}
	s.printf("  %-*s %-*s %7s\n", stepWidth, step.name, detailWidth, detail, seconds(time.Since(began)))
	return nil
}

func (s screen) heading(text string) { s.printf("%s\n\n", text) }

func (s screen) say(lines ...string) { s.block("  ", lines) }

// lines shows something as it is.
func (s screen) lines(lines ...string) { s.block("    ", lines) }

func (s screen) values(values ...value) {
	var lines []string
	for _, v := range values {
		lines = append(lines, fmt.Sprintf("%-*s  %s", keyWidth, v.key, v.value))
	}
	s.lines(lines...)
}

// findings says what holds and what does not, and returns whether all hold.
func (s screen) findings(findings []finding) bool {
	s.heading("Checked")
	ok := true
	var lines []string
	for _, f := range findings {
		if f.err == nil {
			lines = append(lines, "✓ "+f.statement)
			continue
		}
		ok = false
		lines = append(lines, "✗ "+f.statement, "  But: "+f.err.Error())
	}
	s.say(lines...)
	return ok
}

func (s screen) block(indent string, lines []string) {
	for _, line := range lines {
		s.printf("%s%s\n", indent, line)
	}
	s.gap()
}

func (s screen) gap() { s.printf("\n") }

func (s screen) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format, args...)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
