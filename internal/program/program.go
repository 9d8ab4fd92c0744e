// Package program has the common parts of the main functions of all programs.
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
// signal ends the process immediately.
func Context() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx
}

// Server is a program that runs until its context is done.
type Server struct {
	Name string
	// Parse parses flags, and reports whether to print only the version. If the flags
	// request help, it prints the help and returns pflag.ErrHelp.
	Parse func() (printVersion bool, err error)
	// Run runs the program with the parsed flags. It logs the error that it returns.
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
