package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
)

func newVersionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version information",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			this := version.This()
			return o.print(this, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, this.Of("kubectl irsa"))
				return err
			})
		},
	}
}
