package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Widths of columns. With the duration, a line has 80 characters.
const (
	stepWidth   = 22
	detailWidth = 47
	keyWidth    = 14
)

// screen writes blocks of text, each with an empty line after it. It ignores
// write errors.
type screen struct {
	out     io.Writer
	verbose bool
}

// step is one step of the preparation.
type step struct {
	name string
	do   func(context.Context) (detail string, err error)
}

// value is a line of a table.
type value struct{ key, value string }

// step runs a step. If verbose, it prints the step with its detail and duration.
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

func (s screen) text(lines ...string) { s.block("  ", lines) }

// lines prints literal output, such as YAML or commands, with a deeper indentation.
func (s screen) lines(lines ...string) { s.block("    ", lines) }

func (s screen) values(values ...value) {
	var lines []string
	for _, v := range values {
		lines = append(lines, fmt.Sprintf("%-*s  %s", keyWidth, v.key, v.value))
	}
	s.lines(lines...)
}

// findings prints each finding, and the error if it has one. It reports whether
// no finding has an error.
func (s screen) findings(findings []finding) bool {
	s.heading("Checks")
	ok := true
	var lines []string
	for _, f := range findings {
		if f.err == nil {
			lines = append(lines, "✓ "+f.statement)
			continue
		}
		ok = false
		lines = append(lines, "✗ "+f.statement, "  failed: "+f.err.Error())
	}
	s.text(lines...)
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
