// Package program implements the common part of the main functions of all programs.
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

// Context returns a context that is canceled after the first SIGTERM or SIGINT. A second
// signal terminates the process immediately.
func Context() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx
}

// Server is a program that runs until its context is done.
type Server struct {
	Name string
	// Parse parses the flags and reports whether to print only the version. After printing
	// the help it returns pflag.ErrHelp.
	Parse func() (printVersion bool, err error)
	// Run runs the program with the parsed flags until the context is done. It logs the error
	// that it returns.
	Run func(context.Context) error
}

// Main runs the server and returns the exit code of the process.
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
