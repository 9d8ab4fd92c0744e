// Command local-sts is a fake AWS for a cluster that has no AWS account. It implements the STS
// calls of IRSA and the IAM calls that manage providers and roles. Its credentials are valid only
// at local-sts.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
)

// whoamiCommand is the argument that calls an STS instead of starting the server.
const whoamiCommand = "whoami"

func main() {
	os.Exit(realMain(program.Context(), os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == whoamiCommand {
		if err := whoami(ctx, stdout); err != nil {
			fmt.Fprintf(stderr, "local-sts %s: %v\n", whoamiCommand, err)
			return program.ExitFailure
		}
		return program.ExitOK
	}
	var config config
	return program.Server{
		Name: "local-sts",
		Parse: func() (printVersion bool, err error) {
			config, err = parseFlags(args, os.Getenv(secretVariable), stderr)
			return config.version, err
		},
		Run: func(ctx context.Context) error {
			logger := slog.New(slog.NewJSONHandler(stderr, nil))
			err := run(ctx, config, logger)
			if err != nil {
				logger.ErrorContext(ctx, "Server failed", "error", err)
			}
			return err
		},
	}.Main(ctx, stdout, stderr)
}
