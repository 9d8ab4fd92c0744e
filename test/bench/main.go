// Command bench measures admissions. It runs the built webhook as a process and calls it
// over HTTP/1.1 and TLS like an API server. It compares it with a server that always
// sends the same response, the floor. Then it creates pods through a real API server,
// with live reads and without. The ratios that it prints are comparable between machines.
//
//	bench run       measure, print, and compare with the recorded results
//	bench record    record the requests that run sends, from a real API server
//
// It also measures the webhook with a real API server that has many ServiceAccounts.
//
//	bench scale     measure memory, starts and live reads, and print them
//
// And it measures bursts of pods at API servers with default and small limits.
//
//	bench burst     measure, print, and fail if the webhook more than doubles the median
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

// realMain runs a command. It writes results to out and progress messages to progress.
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
	case "burst":
		return measureBursts(ctx, out, progress)
	default:
		return fmt.Errorf("unknown command %q, want run, record, scale or burst", verb)
	}
}
