// Command pod-identity-webhook is a mutating admission webhook that gives pods
// the AWS identity of their ServiceAccount.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// Once the first signal has come, a second ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(realMain(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	config, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "pod-identity-webhook: %v\n", err)
		return exitUsage
	case config.version:
		fmt.Fprintln(stdout, version.This().Of("pod-identity-webhook"))
		return exitOK
	}
	logger := newLogger(stderr, config.verbosity)
	if err := run(ctx, config, logger); err != nil {
		logger.Error("pod-identity-webhook ends", "error", err)
		return exitFailure
	}
	return exitOK
}
