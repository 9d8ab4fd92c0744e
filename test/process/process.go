// Package process runs a program as a child process that its parent can stop gracefully and
// that does not outlive its parent. It handles the start, the exit and the log file.
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

// readyInterval is the polling interval of WaitReady. It is short because tests start
// programs often, and a check costs only a loopback request.
const readyInterval = 50 * time.Millisecond

// Command is a program to run.
type Command struct {
	// Path is the program's file. Errors contain its last element.
	Path string
	Args []string
	// Env is the complete environment, as NAME=value; nil means the parent's.
	Env []string
	// Log is the file to which the output is appended. It is created if absent, readable
	// only by its owner.
	Log string
}

// Process is a started program. Its methods can be called concurrently.
type Process struct {
	cmd    *exec.Cmd
	log    string
	ended  chan struct{}
	exited error // result of Wait; valid after ended is closed
}

// Start runs the command in its own process group. So Ctrl-C in the terminal reaches only
// the parent, which decides the order of stops. On Linux the kernel kills the child when
// the parent dies in any way. On other systems a killed parent leaves its children running.
func Start(command Command) (*Process, error) {
	log, err := os.OpenFile(command.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", filepath.Base(command.Path), err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor

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

// run starts the program and waits for its exit on one locked OS thread. Linux sends the
// parent-death signal when the thread that forked exits, not when the process does
// (prctl(2), PR_SET_PDEATHSIG).
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

// Name returns the program's file name.
func (p *Process) Name() string { return filepath.Base(p.cmd.Path) }

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended returns a channel that is closed when the process has exited for any reason.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode waits until the process exits and returns its exit code, which is -1 if a signal
// killed it.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// WaitReady polls until ready returns nil. It returns an error if the process exits or the
// context ends before. The error has the last error of ready and the last lines of the log.
// A call of ready should have its own timeout.
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
		return fmt.Errorf("wait for %s: %w; last error: %w; last lines of its log:\n%s", p.Name(), context.Cause(ctx), last, p.LogTail())
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, p.Name(), err)
	}
	return nil
}

// Stop sends the process SIGTERM and waits until it exits. If the context ends before, it
// kills the process and returns an error. It also returns an error, with the last lines of
// the log, if the process had already exited.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.UnexpectedEnd()
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill() // this system has no SIGTERM
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

// Kill kills the process and waits until it is gone.
func (p *Process) Kill() {
	// The only possible error is that the process has already exited.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// UnexpectedEnd waits until the process exits. It returns an error with the process state and
// the last lines of the log.
func (p *Process) UnexpectedEnd() error {
	<-p.ended
	return fmt.Errorf("%s exited unexpectedly: %s; last lines of its log:\n%s", p.Name(), p.cmd.ProcessState, p.LogTail())
}
