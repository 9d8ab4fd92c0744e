// Package process runs a program as a child that its parent stops in order and
// that does not outlive its parent.
//
// It owns the child's start, its end and the file with its output. What the
// program does, and when it is ready for use, is the caller's to know.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// readyInterval is how often WaitReady asks. It is short since the tests start
// programs often, and what it asks costs a loopback request.
const readyInterval = 50 * time.Millisecond

// Command is a program to run.
type Command struct {
	// Path is the program's file. Its last element names the process in errors.
	Path string
	Args []string
	// Env is the whole environment, as NAME=value; nil means the parent's.
	Env []string
	// Log is the file that the output is appended to. It is created if absent
	// and readable by its owner only.
	Log string
}

// Process is a program that was started. Its methods may be called from any
// goroutine.
type Process struct {
	cmd    *exec.Cmd
	log    string
	ended  chan struct{}
	exited error // what Wait returned; valid once ended is closed
}

// Start runs the command in a process group of its own, so that a Ctrl-C in
// the terminal reaches the parent alone and the parent decides who stops when.
// On Linux the kernel kills the child when the parent dies, however it dies;
// elsewhere a parent that is killed leaves its children behind.
func Start(command Command) (*Process, error) {
	log, err := os.OpenFile(command.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", filepath.Base(command.Path), err)
	}
	defer func() { _ = log.Close() }() // the child has a descriptor of its own

	cmd := exec.Command(command.Path, command.Args...) //nolint:gosec,noctx // to run what the caller says is the point, and no context ends it: Stop does
	cmd.Env = command.Env
	cmd.Stdout = log
	cmd.Stderr = log
	cmd.SysProcAttr = sysProcAttr()
	p := &Process{cmd: cmd, log: command.Log, ended: make(chan struct{})}

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	return p, nil
}

// run starts the program and waits for its end on one OS thread that it does
// not give back before: Linux sends the parent-death signal when the thread
// that forked ends, not when the process does (prctl(2), PR_SET_PDEATHSIG).
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.exited = p.cmd.Wait()
	close(p.ended)
}

// Name is the program's file name.
func (p *Process) Name() string { return filepath.Base(p.cmd.Path) }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended, for whatever reason.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode waits for the process to end and returns its exit code, which is -1
// if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// WaitReady asks until ready returns nil. It fails when the process ends or
// when the context does, and the error then holds the last answer and the end
// of the log. A call of ready should have a deadline of its own.
func (p *Process) WaitReady(ctx context.Context, ready func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.ended:
			return false, p.UnexpectedEnd()
		default:
		}
		last = ready(ctx)
		return last == nil, nil
	})
	switch {
	case err == nil:
		return nil
	case !wait.Interrupted(err):
		return err
	case last == nil:
		return fmt.Errorf("wait for %s: %w", p.Name(), context.Cause(ctx))
	default:
		return fmt.Errorf("wait for %s: %w; it last said: %w; the end of its log:\n%s", p.Name(), context.Cause(ctx), last, p.LogTail())
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, p.Name(), err)
	}
	return nil
}

// Stop asks the process to end and waits until it has. When the context ends
// first the process is killed, and the error says so. A process that ended
// before it was asked to is an error too, with the end of its log.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.UnexpectedEnd()
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill() // no SIGTERM on this system
		return nil
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop %s: %w; it was killed", p.Name(), context.Cause(ctx))
	}
}

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() {
	// The only error is that it has ended already, which is what is wanted.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// UnexpectedEnd waits for the process to end and returns an error that tells
// how it did, with the end of its log.
func (p *Process) UnexpectedEnd() error {
	<-p.ended
	return fmt.Errorf("%s ended by itself: %s; the end of its log:\n%s", p.Name(), p.cmd.ProcessState, p.LogTail())
}
