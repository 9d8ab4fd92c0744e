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
		Long: "Make a role for a ServiceAccount, which its pods alone may take, and create or annotate the ServiceAccount.\n\n" +
			"The plan is printed; --approve makes the changes. A role that was made before is brought up to date; " +
			"policies that it has beyond are told and stay.",
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
	flags.StringSliceVar(&spec.PolicyARNs, "attach-policy-arn", nil, "managed policy to attach to the role; repeatable")
	flags.StringVar(&spec.RoleName, "role-name", "", "Name of the role. Defaults to CLUSTER.NAMESPACE.NAME, truncated to 64 characters.")
	flags.StringVar(&spec.Path, "path", "", "path of a role that is made, such as /team/; by default /")
	flags.StringVar(&spec.Boundary, "permissions-boundary", "", "managed policy that bounds the rights of the role")
	flags.StringVar(&spec.Audience, "audience", "", "audience of the pods' tokens; by default that of the ServiceAccount, or "+provision.DefaultAudience)
	flags.StringToStringVar(&spec.Tags, "tags", nil, "tags of the role, as key=value,key=value")
	flags.BoolVar(&spec.RoleOnly, "role-only", false, "If true, create only the role and do not change the ServiceAccount.")
	flags.BoolVar(&spec.Override, "override-existing-serviceaccounts", false, "If true, replace the role of a ServiceAccount that names another role.")
	return command
}

func serviceAccountDeleteCommand(p *provisionOptions) *cobra.Command {
	var spec provision.DeletionSpec
	command := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete what create made: the role, and the annotation or the ServiceAccount",
		Long: "Delete what create made: the role, and the annotation or the ServiceAccount.\n\n" +
			"The plan is printed; --approve makes the changes. A role without our tags, a ServiceAccount that was there before, " +
			"and an annotation with another role stay.",
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
	flags.StringVar(&spec.RoleName, "role-name", "", "name of the role; by default each that was made for the ServiceAccount")
	flags.BoolVar(&spec.RoleOnly, "role-only", false, "delete the role, and leave the ServiceAccount to somebody else")
	return command
}

func serviceAccountListCommand(p *provisionOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "list",
		Short: "List the roles that were made for this cluster, and the state of their ServiceAccounts",
		Long: "List the roles that were made for this cluster, and the state of their ServiceAccounts, in all namespaces unless -n is given.\n\n" +
			"The exit code is 2 if something made for somebody is of no use, and 3 if that cannot be seen.",
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

// listOutput is what -o json and yaml print.
type listOutput struct {
	Identities []provision.Identity `json:"identities"`
	// Unseen says why the roles or the ServiceAccounts could not be read.
	Unseen string `json:"readError,omitempty"`
}

func (p *provisionOptions) listIdentities(ctx context.Context, cluster *provision.Cluster) error {
	identities, unseen, err := cluster.Identities(ctx, *p.cluster.Namespace)
	if provision.IsDenied(err) {
		return p.reportReadError(err, listOutput{Identities: []provision.Identity{}, Unseen: err.Error()})
	}
	if err != nil {
		return err
	}
	result := listOutput{Identities: identities}
	if unseen != nil {
		result.Unseen = unseen.Error()
	}
	if err := p.print(result, func(out io.Writer) error { return p.writeIdentities(out, result) }); err != nil {
		return err
	}
	for _, identity := range identities {
		if identity.State.Broken() {
			return exitCodeError(exitBroken)
		}
	}
	if unseen != nil {
		return exitCodeError(exitUnknown)
	}
	return nil
}

func (p *provisionOptions) writeIdentities(out io.Writer, result listOutput) error {
	if result.Unseen != "" {
		fmt.Fprintf(p.ErrOut, "kubectl irsa: %s\n", result.Unseen)
	}
	if len(result.Identities) == 0 {
		_, err := fmt.Fprintln(out, "No roles found for this cluster.")
		return err
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "NAMESPACE\tSERVICEACCOUNT\tROLE\tSTATE")
	for _, identity := range result.Identities {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", identity.Namespace, identity.ServiceAccount, identity.RoleARN, p.paintState(identity))
	}
	return table.Flush()
}

func (p *provisionOptions) paintState(identity provision.Identity) string {
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
