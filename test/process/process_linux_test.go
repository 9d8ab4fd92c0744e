package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// roleVariable makes the test binary run the program of a role instead of the tests.
const roleVariable = "PROCESS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	m.Run()
}

// play runs the program of a role and returns the exit code.
func play(role string) int {
	switch role {
	case "failing":
		say("the disk is full")
		return 3
	case "obedient":
		<-terminations()
		return 7
	case "stubborn":
		for range terminations() {
		}
	case "parent": // starts a child and prints its PID
		command := Command{Path: os.Args[0], Log: os.Args[1]}
		if err := os.Setenv(roleVariable, "stubborn"); err != nil {
			say(err)
			return 1
		}
		child, err := Start(command)
		if err != nil {
			say(err)
			return 1
		}
		say(child.PID())
		<-child.Ended()
	}
	return 1
}

func say(text any) { _, _ = fmt.Fprintln(os.Stdout, text) }

// terminations returns a channel that receives each SIGTERM. It prints "ready" first.
func terminations() <-chan os.Signal {
	terminations := make(chan os.Signal, 1)
	signal.Notify(terminations, syscall.SIGTERM)
	say("ready")
	return terminations
}

func TestStop_exitCode(t *testing.T) {
	p := startRole(t, "obedient")
	waitReady(t, p)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.ExitCode(); got != 7 {
		t.Errorf("got exit code %d, want 7", got)
	}
}

func TestStop_contextCanceled(t *testing.T) {
	p := startRole(t, "stubborn")
	waitReady(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	select {
	case <-p.Ended():
	default:
		t.Error("the process is still running")
	}
}

func TestUnexpectedEnd(t *testing.T) {
	p := startRole(t, "failing")
	never := func(context.Context) error { return errors.New("connection refused") }
	for name, err := range map[string]error{
		"WaitReady": p.WaitReady(t.Context(), never),
		"Stop":      p.Stop(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s: got %v, want an error with the exit status and the log", name, err)
		}
	}
}

func TestWaitReady_lastError(t *testing.T) {
	p := startRole(t, "stubborn")
	waitReady(t, p)
	refused := errors.New("connection refused")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := p.WaitReady(ctx, func(context.Context) error { return refused })
	if !errors.Is(err, refused) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an error with the deadline and the last error", err)
	}
}

func TestStart_processGroup(t *testing.T) {
	p := startRole(t, "stubborn")
	group, err := syscall.Getpgid(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != p.PID() {
		t.Errorf("got child %d in process group %d, want its own group", p.PID(), group)
	}
}

func TestStart_parentKilled(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	parent := exec.Command(os.Args[0], log)
	parent.Env = append(os.Environ(), roleVariable+"=parent")
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	waitForLog(t, log, "ready")

	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return !running(child), nil
	})
	if err != nil {
		_ = syscall.Kill(child, syscall.SIGKILL)
		t.Errorf("the child survived its parent: %v", err)
	}
}

// running reports whether a process exists and is not a zombie that its new parent has not
// reaped yet.
func running(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(state, "Z")
}

func startRole(t *testing.T, role string) *Process {
	t.Helper()
	t.Setenv(roleVariable, role)
	p, err := Start(Command{Path: os.Args[0], Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// waitReady waits until the program has installed its signal handlers.
func waitReady(t *testing.T, p *Process) {
	t.Helper()
	waitForLog(t, p.log, "ready")
}

func waitForLog(t *testing.T, path, want string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		log, err := os.ReadFile(path)
		return strings.Contains(string(log), want), err
	})
	if err != nil {
		t.Fatalf("wait for %q in the log: %v", want, err)
	}
}
