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

// Run runs a command and streams its output to out.
func Run(ctx context.Context, out io.Writer, path string, args ...string) error {
	return runWith(ctx, out, nil, path, args...)
}

// runWith is Run with the given environment; nil means the environment of this process.
func runWith(ctx context.Context, out io.Writer, environment []string, path string, args ...string) error {
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the caller chooses the commands, the user their paths
	command.Env = environment
	command.Stdout, command.Stderr = out, out
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", line(path, args), err)
	}
	return nil
}

// Output runs a command and returns its standard output. The error includes the
// command's standard error.
func Output(ctx context.Context, path string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the caller chooses the commands, the user their paths
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
