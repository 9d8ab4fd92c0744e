// Command bench measures admissions: the built webhook as a process, asked over
// HTTP/1.1 and TLS as an API server asks, beside a server that answers always the
// same, the floor. Then it creates pods through a real API server, with live reads
// and without. What it prints as ratios holds on other machines.
//
//	bench run       measure, print, compare with what is recorded
//	bench record    have a real API server send what run asks with
//
// And it measures what the webhook takes beside a real API server that has many
// ServiceAccounts:
//
//	bench scale     measure memory, starts and live reads, print
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// realMain writes what was asked for to out, and how it goes on to progress.
func realMain(ctx context.Context, args []string, out, progress io.Writer) error {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "run":
		return run(ctx, args[1:], out, progress)
	case "record":
		return record(ctx, progress)
	case "scale":
		return scale(ctx, args[1:], out, progress)
	default:
		return fmt.Errorf("%q is not one of run, record and scale", verb)
	}
}
