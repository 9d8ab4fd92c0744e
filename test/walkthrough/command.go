package walkthrough

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// Run runs a command and writes what it says to out, as it comes.
func Run(ctx context.Context, out io.Writer, path string, args ...string) error {
	return runWith(ctx, out, nil, path, args...)
}

// runWith does so with an environment of its own, unless that is nil.
func runWith(ctx context.Context, out io.Writer, environment []string, path string, args ...string) error {
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the commands are this program's, their paths the user's
	command.Env = environment
	command.Stdout, command.Stderr = out, out
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", line(path, args), err)
	}
	return nil
}

// Output runs a command and returns what it prints. Its error has what the
// command says about that.
func Output(ctx context.Context, path string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the same
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", line(path, args), err, strings.TrimSpace(stderr.String()))
	}
	return stdout, nil
}

func line(path string, args []string) string {
	return strings.Join(append([]string{filepath.Base(path)}, args...), " ")
}
