package main

import (
	"time"

	"github.com/spf13/cobra"
)

// oidcTimeout bounds what is asked of a cluster, and of all of an issuer's addresses.
const oidcTimeout = time.Minute

func newOIDCCommand(o *options) *cobra.Command {
	command := &cobra.Command{
		Use:   "oidc",
		Short: "Write, serve and check what the cluster's issuer has to publish",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(newDocumentsCommand(o), newServeCommand(o), newRotateCheckCommand(o))
	return command
}
