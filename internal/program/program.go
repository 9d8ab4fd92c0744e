// Package program has what the main functions of all programs do.
package program

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
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// Context returns a context that is done after the first SIGTERM or SIGINT. A second
// ends the process at once.
func Context() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx
}

// Server is a program that runs until its context is done.
type Server struct {
	Name string
	// Parse parses flags, and reports whether only the version is to be printed. It
	// prints help itself, and returns pflag.ErrHelp then.
	Parse func() (printVersion bool, err error)
	// Run runs with the parsed flags. It logs its own error.
	Run func(context.Context) error
}

// Main runs the server and returns its exit code.
func (s Server) Main(ctx context.Context, stdout, stderr io.Writer) int {
	switch printVersion, err := s.Parse(); {
	case errors.Is(err, pflag.ErrHelp):
		return ExitOK
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
		return ExitUsage
	case printVersion:
		fmt.Fprintln(stdout, version.This().Of(s.Name))
		return ExitOK
	}
	if err := s.Run(ctx); err != nil {
		return ExitFailure
	}
	return ExitOK
}
