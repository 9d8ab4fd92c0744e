package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

// options are the common options of all commands.
type options struct {
	genericiooptions.IOStreams
	cluster *genericclioptions.ConfigFlags

	profile, region string
	output          string
	color           string
	dryRun          bool
	// connect returns the cluster and the account for plans. Tests replace it.
	connect connector
}

func newRootCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return rootCommand(&options{IOStreams: streams, cluster: genericclioptions.NewConfigFlags(true), connect: connect})
}

func rootCommand(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-irsa",
		Short: "Set up and diagnose IAM Roles for Service Accounts",
		// kubectl shows the usage of a plugin with this name.
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl irsa"},
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return o.validate()
		},
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	o.addFlags(root.PersistentFlags())
	o.completeFlags(root)
	root.AddCommand(newDoctorCommand(o), newProviderCommand(o), newServiceAccountCommand(o), newTrustPolicyCommand(o), newExplainCommand(o),
		newOIDCCommand(o), newVersionCommand(o))
	return root
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	o.cluster.AddFlags(flags)
	flags.StringVarP(&o.output, "output", "o", "", "Output format. One of: (json, yaml). Defaults to text.")
	flags.StringVar(&o.color, "color", "auto", "When to color the text. One of: (auto, always, never). auto uses color on a terminal, unless NO_COLOR is set.")
	flags.BoolVar(&o.dryRun, "dry-run", false, "If true, print the plan and change nothing, even with --approve.")
	flags.StringVar(&o.profile, "profile", "", "Profile of the AWS configuration files. Defaults to AWS_PROFILE.")
	flags.StringVar(&o.region, "region", "", "AWS region. Defaults to the region of the AWS configuration.")
}

func (o *options) validate() error {
	switch o.output {
	case "", "json", "yaml":
	default:
		return fmt.Errorf("-o %q: must be json or yaml", o.output)
	}
	switch o.color {
	case "auto", "always", "never":
		return nil
	default:
		return fmt.Errorf("--color %q: must be auto, always or never", o.color)
	}
}

// client returns a client of the cluster that the kubectl flags select.
func (o *options) client() (kubernetes.Interface, error) {
	restConfig, err := o.cluster.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("create a client for %s: %w", restConfig.Host, err)
	}
	return client, nil
}

// namespace returns the namespace of -n, or of the context.
func (o *options) namespace() (string, error) {
	namespace, _, err := o.cluster.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("get the namespace from kubeconfig: %w", err)
	}
	return namespace, nil
}

// aws returns the AWS configuration, which is that of the AWS CLI.
func (o *options) aws(ctx context.Context) (aws.Config, error) {
	var load []func(*config.LoadOptions) error
	if o.profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.profile))
	}
	if o.region != "" {
		load = append(load, config.WithRegion(o.region))
	}
	loaded, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	return loaded, nil
}
