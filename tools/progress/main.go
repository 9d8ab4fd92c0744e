// Command progress runs "go build -v". Instead of the names of packages, it prints their
// number and the elapsed time. Its arguments are those of go build; the last one is the
// package. The environment variable GO is the go command.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	terminal := false
	if info, err := os.Stderr.Stat(); err == nil {
		terminal = info.Mode()&os.ModeCharDevice != 0
	}
	os.Exit(run(ctx, cmp.Or(os.Getenv("GO"), "go"), os.Args[1:], os.Stderr, terminal)) //nolint:forbidigo,gocritic // this is main, and the signal handler ends with it
}

// run runs go build and returns its exit code.
func run(ctx context.Context, goCommand string, args []string, out io.Writer, terminal bool) int {
	if len(args) == 0 {
		fmt.Fprintln(out, "progress: no package to build")
		return 2
	}
	pkg := args[len(args)-1]
	p := &printer{out: out, name: path.Base(pkg), total: countPackages(ctx, goCommand, pkg), began: time.Now()}
	// The last element of a path such as go.etcd.io/etcd/server/v3 is a version.
	if strings.HasPrefix(p.name, "v") && strings.Trim(p.name[1:], "0123456789") == "" {
		p.name = path.Base(path.Dir(path.Dir(pkg)))
	}
	build := exec.CommandContext(ctx, goCommand, append([]string{"build", "-v"}, args...)...) //nolint:gosec // to run what the Makefile says is the point
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	lines, err := build.StderrPipe()
	if err == nil {
		err = build.Start()
	}
	if err != nil {
		fmt.Fprintln(out, "progress:", err)
		return 1
	}
	done := make(chan struct{})
	go p.tick(done, terminal)
	messages := p.count(lines)
	err = build.Wait()
	close(done)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		_, _ = out.Write(messages)
		return failed.ExitCode()
	}
	p.finish(terminal)
	return 0
}

// countPackages returns the number of packages, or 0 if it is not known.
func countPackages(ctx context.Context, goCommand, pkg string) int {
	list, err := exec.CommandContext(ctx, goCommand, "list", "-deps", pkg).Output() //nolint:gosec // as above
	if err != nil {
		return 0
	}
	return bytes.Count(list, []byte("\n"))
}

type printer struct {
	out      io.Writer
	name     string
	total    int
	compiled atomic.Int64
	began    time.Time
}

// count counts the lines that are names of packages, and returns the other lines.
func (p *printer) count(lines io.Reader) []byte {
	var messages bytes.Buffer
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		line := scanner.Text()
		if strings.ContainsAny(line, " \t:") {
			fmt.Fprintln(&messages, line)
		} else {
			p.compiled.Add(1)
		}
	}
	return messages.Bytes()
}

// tick prints the progress: each second in one line on a terminal, otherwise a line every 15
// seconds.
func (p *printer) tick(done <-chan struct{}, terminal bool) {
	interval, before, after := 15*time.Second, "", "\n"
	if terminal {
		interval, before, after = time.Second, "\r\x1b[K", ""
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			fmt.Fprintf(p.out, "%sbuilding %s: %d of at most %d packages compiled, %s%s", before, p.name, p.compiled.Load(), p.total, p.age(), after)
		}
	}
}

func (p *printer) finish(terminal bool) {
	if terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "built %s: %d packages compiled, %s\n", p.name, p.compiled.Load(), p.age())
}

func (p *printer) age() time.Duration { return time.Since(p.began).Round(time.Second) }
