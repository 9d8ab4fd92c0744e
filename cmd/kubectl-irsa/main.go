// Command kubectl-irsa is the kubectl plugin that sets up and diagnoses IAM Roles
// for Service Accounts: kubectl irsa.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
)

// Exit codes. docs/kubectl-irsa.md documents them.
const (
	exitOK = 0
	// exitFailure means that the command failed.
	exitFailure = 1
	// exitBroken means that the command worked and found something broken.
	exitBroken = 2
	// exitUnknown means that the command found nothing broken, but could not check
	// everything.
	exitUnknown = 3
)

func main() {
	os.Exit(realMain(program.Context(), os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}

func realMain(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	return execute(ctx, newRootCommand(streams), args, streams)
}

// execute runs a command and returns its exit code.
func execute(ctx context.Context, root *cobra.Command, args []string, streams genericiooptions.IOStreams) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if code, ok := errors.AsType[exitCodeError](err); ok {
		return int(code)
	}
	if err != nil {
		// An error can quote values in the cluster with control characters.
		for line := range strings.Lines(fmt.Sprintf("kubectl irsa: %v", err)) {
			fmt.Fprintln(streams.ErrOut, printable(strings.TrimSuffix(line, "\n")))
		}
		return exitFailure
	}
	return exitOK
}

// exitCodeError is the exit code of a command that has printed its result already.
type exitCodeError int

func (v exitCodeError) Error() string { return fmt.Sprintf("exit code %d", int(v)) }
