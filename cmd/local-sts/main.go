// Command local-sts plays the part of AWS's STS, and of as much of IAM as it takes,
// for a cluster that has no AWS account. It is a test double for people: the
// credentials that it gives open nothing but itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// whoamiCommand asks an STS instead of being one.
const whoamiCommand = "whoami"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// Once the first signal has come, a second ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(realMain(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == whoamiCommand {
		if err := whoami(ctx, stdout); err != nil {
			fmt.Fprintf(stderr, "local-sts %s: %v\n", whoamiCommand, err)
			return exitFailure
		}
		return exitOK
	}
	config, err := parseFlags(args, os.Getenv(secretVariable), stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "local-sts: %v\n", err)
		return exitUsage
	case config.version:
		fmt.Fprintln(stdout, version.This().Of("local-sts"))
		return exitOK
	}
	logger := slog.New(slog.NewJSONHandler(stderr, nil))
	if err := run(ctx, config, logger); err != nil {
		logger.ErrorContext(ctx, "local-sts ends", "error", err)
		return exitFailure
	}
	return exitOK
}
