package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

func newProviderCommand(o *options) *cobra.Command {
	p := &provisionOptions{options: o}
	command := &cobra.Command{
		Use:   "provider",
		Short: "Register the cluster's issuer in IAM",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(providerCreateCommand(p), providerDeleteCommand(p), providerShowCommand(p))
	return command
}

func providerCreateCommand(p *provisionOptions) *cobra.Command {
	var spec provision.ProviderSpec
	command := &cobra.Command{
		Use:   "create",
		Short: "Create or update the IAM OIDC provider of the cluster",
		Long: "Create or update the IAM OIDC provider of the cluster.\n\n" +
			"The command prints the plan. With --approve it makes the changes. Extra audiences and tags of an existing provider are listed and kept.",
		Example: "  kubectl irsa provider create\n" +
			"  kubectl irsa provider create --approve --tags team=platform",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.runPlan(cmd, func(ctx context.Context, cluster *provision.Cluster) (*provision.Plan, error) {
				return cluster.PlanProvider(ctx, spec)
			})
		},
	}
	flags := command.Flags()
	p.addIssuerFlag(flags)
	p.addIssuerCAFlag(flags)
	p.addApproveFlag(flags)
	addAudiencesFlag(command, &spec.Audiences)
	flags.StringSliceVar(&spec.Thumbprints, "thumbprint", nil, "SHA-1 of the issuer's CA, in 40 hexadecimal digits. Needed only for a CA that AWS does not know. Can be repeated.")
	flags.StringToStringVar(&spec.Tags, "tags", nil, "Tags of the provider, as key=value,key=value.")
	return command
}

func addAudiencesFlag(command *cobra.Command, audiences *[]string) {
	command.Flags().StringSliceVar(audiences, "audience", []string{provision.DefaultAudience}, "Audience of the pods' tokens. Can be repeated.")
}

func providerDeleteCommand(p *provisionOptions) *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use:   "delete",
		Short: "Delete the OIDC provider of the cluster",
		Long: "Delete the OIDC provider of the cluster, if kubectl irsa created it.\n\n" +
			"The command prints the plan, and warns of roles that trust the provider. With --approve it makes the changes.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.runPlan(cmd, func(ctx context.Context, cluster *provision.Cluster) (*provision.Plan, error) {
				return cluster.PlanProviderDeletion(ctx, force)
			})
		},
	}
	p.addIssuerFlag(command.Flags())
	p.addApproveFlag(command.Flags())
	command.Flags().BoolVar(&force, "force", false, "If true, delete the provider even if kubectl irsa did not create it.")
	return command
}

func providerShowCommand(p *provisionOptions) *cobra.Command {
	var audiences []string
	command := &cobra.Command{
		Use:   "show",
		Short: "Show and check the OIDC provider of the cluster",
		Long: "Show the OIDC provider of the cluster, and check that it exists and accepts the audiences.\n\n" +
			"The exit code is 0 if it does, 2 if it does not, and 3 if the provider cannot be read.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withCluster(cmd, func(ctx context.Context, cluster *provision.Cluster) error {
				return p.showProvider(ctx, cluster, audiences)
			})
		},
	}
	p.addIssuerFlag(command.Flags())
	p.addIssuerCAFlag(command.Flags())
	addAudiencesFlag(command, &audiences)
	return command
}

func (p *provisionOptions) showProvider(ctx context.Context, cluster *provision.Cluster, audiences []string) error {
	report, err := cluster.Provider(ctx, audiences)
	if provision.IsDenied(err) {
		return p.reportReadError(err, provision.ProviderReport{ARN: cluster.ProviderARN(), Issuer: cluster.Issuer, Unknown: err.Error()})
	}
	if err != nil {
		return err
	}
	if err := p.print(report, func(out io.Writer) error { return p.writeProvider(out, report) }); err != nil {
		return err
	}
	if len(report.Faults) > 0 {
		return exitCodeError(exitBroken)
	}
	return nil
}

func (p *provisionOptions) writeProvider(out io.Writer, report *provision.ProviderReport) error {
	table := printers.GetNewTabWriter(out)
	fmt.Fprintf(table, "Issuer:\t%s\n", report.Issuer)
	fmt.Fprintf(table, "Provider:\t%s\n", report.ARN)
	if report.Exists {
		fmt.Fprintf(table, "Audiences:\t%s\n", listed(report.Audiences))
		fmt.Fprintf(table, "Thumbprints:\t%s\n", listed(report.Thumbprints))
		fmt.Fprintf(table, "Tags:\t%s\n", listed(pairs(report.Tags)))
		fmt.Fprintf(table, "Created by:\t%s\n", ownerDescription(report.MadeHere))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, warning := range report.Warnings {
		fmt.Fprintf(out, "%s %s\n", p.colorize(color.FgYellow)("Warning:"), warning)
	}
	for _, fault := range report.Faults {
		fmt.Fprintf(out, "%s %s\n", p.colorize(color.FgRed)("Broken:"), fault)
	}
	if len(report.Faults) == 0 {
		fmt.Fprintf(out, "%s the provider exists and accepts the audiences\n", p.colorize(color.FgGreen)("OK:"))
	}
	return nil
}

func ownerDescription(createdByTool bool) string {
	if createdByTool {
		return "kubectl irsa"
	}
	return "another tool"
}

func listed(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return strings.Join(values, ", ")
}

func pairs(tags map[string]string) []string {
	all := make([]string, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, key+"="+tags[key])
	}
	return all
}
