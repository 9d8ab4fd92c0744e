// Command pod-identity-webhook is a mutating admission webhook that injects the AWS
// identity of their ServiceAccount into pods.
package main

import (
	"context"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
)

func main() {
	os.Exit(realMain(program.Context(), os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var config config
	return program.Server{
		Name: "pod-identity-webhook",
		Parse: func() (printVersion bool, err error) {
			config, err = parseFlags(args, stderr)
			return config.version, err
		},
		Run: func(ctx context.Context) error {
			logger := newLogger(stderr, config.verbosity)
			err := run(ctx, config, logger, prometheus.NewRegistry())
			if err != nil {
				logger.ErrorContext(ctx, "Stopped with an error", "error", err)
			}
			return err
		},
	}.Main(ctx, stdout, stderr)
}
