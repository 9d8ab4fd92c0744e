package main

import (
	"context"
	"fmt"
	"io"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

func newServiceAccountCommand(o *options) *cobra.Command {
	p := &provisionOptions{options: o, readsCluster: true}
	command := &cobra.Command{
		Use:     "serviceaccount",
		Aliases: []string{"sa"},
		Short:   "Manage IAM roles for ServiceAccounts",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(serviceAccountCreateCommand(p), serviceAccountDeleteCommand(p), serviceAccountListCommand(p))
	return command
}

func serviceAccountCreateCommand(p *provisionOptions) *cobra.Command {
	var spec provision.IdentitySpec
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an IAM role for a ServiceAccount, and create or annotate the ServiceAccount",
		Long: "Create an IAM role that only the pods of a ServiceAccount can assume, and create or annotate the ServiceAccount.\n\n" +
			"The command prints the plan. With --approve it makes the changes. If the role exists, the command updates it. " +
			"Extra policies of an existing role are listed and kept.",
		Example: "  kubectl irsa serviceaccount create cart -n shop --attach-policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess\n" +
			"  kubectl irsa sa create cart -n shop --role-only --role-name shop-cart --approve",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeServiceAccount,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			spec.Name = args[0]
			if spec.Namespace, err = p.namespace(); err != nil {
				return err
			}
			return p.runPlan(cmd, func(ctx context.Context, cluster *provision.Cluster) (*provision.Plan, error) {
				return cluster.PlanIdentity(ctx, spec)
			})
		},
	}
	flags := command.Flags()
	p.addAccountFlags(flags)
	p.addApproveFlag(flags)
	flags.StringSliceVar(&spec.PolicyARNs, "attach-policy-arn", nil, "ARN of a managed policy to attach to the role. Can be repeated.")
	flags.StringVar(&spec.RoleName, "role-name", "", "Name of the role. Defaults to CLUSTER.NAMESPACE.NAME, truncated to 64 characters.")
	flags.StringVar(&spec.Path, "path", "", "Path of a new role, such as /team/. Defaults to /.")
	flags.StringVar(&spec.Boundary, "permissions-boundary", "", "ARN of the managed policy that is the permissions boundary of the role.")
	flags.StringVar(&spec.Audience, "audience", "", "Audience of the pods' tokens. Another audience than that of the ServiceAccount is written to its annotation. Defaults to the audience of the annotation, or "+provision.DefaultAudience+".")
	flags.StringToStringVar(&spec.Tags, "tags", nil, "Tags of the role, as key=value,key=value.")
	flags.BoolVar(&spec.RoleOnly, "role-only", false, "If true, create only the role and do not change the ServiceAccount, for example because Helm manages it.")
	flags.BoolVar(&spec.CreateNamespace, "create-namespace", false, "If true, create the namespace if it does not exist.")
	flags.BoolVar(&spec.Override, "override-existing-serviceaccounts", false, "If true, replace another role or audience in the annotations of the ServiceAccount.")
	return command
}

func serviceAccountDeleteCommand(p *provisionOptions) *cobra.Command {
	var spec provision.DeletionSpec
	command := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete the IAM role of a ServiceAccount, and the ServiceAccount or its annotation",
		Long: "Delete the IAM roles that kubectl irsa created for a ServiceAccount. Also delete the ServiceAccount if kubectl irsa created it, or otherwise its annotation.\n\n" +
			"The command prints the plan. With --approve it makes the changes. It does not delete roles that kubectl irsa did not create, " +
			"or an annotation with another role.",
		Example:           "  kubectl irsa serviceaccount delete cart -n shop --approve",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeServiceAccount,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			spec.Name = args[0]
			if spec.Namespace, err = p.namespace(); err != nil {
				return err
			}
			return p.runPlan(cmd, func(ctx context.Context, cluster *provision.Cluster) (*provision.Plan, error) {
				return cluster.PlanIdentityDeletion(ctx, spec)
			})
		},
	}
	flags := command.Flags()
	p.addAccountFlags(flags)
	p.addApproveFlag(flags)
	flags.StringVar(&spec.RoleName, "role-name", "", "Name of the role. Defaults to all roles that kubectl irsa created for the ServiceAccount.")
	flags.BoolVar(&spec.RoleOnly, "role-only", false, "If true, delete only the role and do not change the ServiceAccount.")
	return command
}

func serviceAccountListCommand(p *provisionOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "list",
		Short: "List the IAM roles of this cluster and the state of their ServiceAccounts",
		Long: "List the IAM roles that kubectl irsa created for this cluster, and the state of their ServiceAccounts. Without -n, list all namespaces.\n\n" +
			"The exit code is 0 if nothing is broken. It is 2 if a role or a ServiceAccount does not exist, or a ServiceAccount names another role. It is 3 if something cannot be read.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withCluster(cmd, func(ctx context.Context, cluster *provision.Cluster) error {
				return p.listIdentities(ctx, cluster)
			})
		},
	}
	p.addAccountFlags(command.Flags())
	return command
}

// listOutput is the output of list with -o json and -o yaml.
type listOutput struct {
	Identities []provision.Identity `json:"identities"`
	// ReadError is the error if the roles or the ServiceAccounts could not be read.
	ReadError string `json:"readError,omitempty"`
}

func (p *provisionOptions) listIdentities(ctx context.Context, cluster *provision.Cluster) error {
	identities, accountsErr, err := cluster.Identities(ctx, *p.cluster.Namespace)
	if provision.IsDenied(err) {
		return p.reportReadError(err, listOutput{Identities: []provision.Identity{}, ReadError: err.Error()})
	}
	if err != nil {
		return err
	}
	result := listOutput{Identities: identities}
	if accountsErr != nil {
		result.ReadError = accountsErr.Error()
	}
	if err := p.print(result, func(out io.Writer) error { return p.writeIdentities(out, result) }); err != nil {
		return err
	}
	for _, identity := range identities {
		if identity.State.Broken() {
			return exitCodeError(exitBroken)
		}
	}
	if accountsErr != nil {
		return exitCodeError(exitUnknown)
	}
	return nil
}

func (p *provisionOptions) writeIdentities(out io.Writer, result listOutput) error {
	if result.ReadError != "" {
		fmt.Fprintf(p.ErrOut, "kubectl irsa: %s\n", result.ReadError)
	}
	if len(result.Identities) == 0 {
		_, err := fmt.Fprintln(out, "No roles found for this cluster.")
		return err
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "NAMESPACE\tSERVICEACCOUNT\tROLE\tSTATE")
	for _, identity := range result.Identities {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", identity.Namespace, identity.ServiceAccount, identity.RoleARN, p.colorState(identity))
	}
	return table.Flush()
}

func (p *provisionOptions) colorState(identity provision.Identity) string {
	state := identity.State.Description()
	if identity.Annotated != "" {
		state += ": " + printable(identity.Annotated)
	}
	switch {
	case identity.State.Broken():
		return p.colorize(color.FgRed)(state)
	case identity.State == provision.Complete:
		return p.colorize(color.FgGreen)(state)
	default:
		return p.colorize(color.FgYellow)(state)
	}
}
