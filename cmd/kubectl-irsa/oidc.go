package main

import (
	"time"

	"github.com/spf13/cobra"
)

// oidcTimeout limits all requests to the cluster and to the issuer's addresses together.
const oidcTimeout = time.Minute

func newOIDCCommand(o *options) *cobra.Command {
	command := &cobra.Command{
		Use:   "oidc",
		Short: "Publish and check the documents of the cluster's issuer",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(newDocumentsCommand(o), newServeCommand(o), newRotateCheckCommand(o))
	return command
}
