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

// options are what all commands share: where the cluster and AWS are, and how to
// print.
type options struct {
	genericiooptions.IOStreams
	cluster *genericclioptions.ConfigFlags

	profile, region string
	output          string
	color           string
	dryRun          bool
	// connect finds the cluster and the account for plans; a test has its own.
	connect connector
}

func newRootCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return rootCommand(&options{IOStreams: streams, cluster: genericclioptions.NewConfigFlags(true), connect: connect})
}

func rootCommand(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-irsa",
		Short: "Set up and diagnose IAM Roles for Service Accounts",
		// How kubectl shows a plugin's usage.
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
	flags.StringVarP(&o.output, "output", "o", "", "print json or yaml instead of text")
	flags.StringVar(&o.color, "color", "auto", "color the text: auto (on a terminal, unless NO_COLOR is set), always or never")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be done and change nothing, --approve or not")
	flags.StringVar(&o.profile, "profile", "", "profile of the AWS configuration files; AWS_PROFILE by default")
	flags.StringVar(&o.region, "region", "", "AWS region; that of the AWS configuration by default")
}

func (o *options) validate() error {
	switch o.output {
	case "", "json", "yaml":
	default:
		return fmt.Errorf("-o %q: json or yaml", o.output)
	}
	switch o.color {
	case "auto", "always", "never":
		return nil
	default:
		return fmt.Errorf("--color %q: auto, always or never", o.color)
	}
}

// client returns a client for the cluster of --kubeconfig and --context.
func (o *options) client() (kubernetes.Interface, error) {
	restConfig, err := o.cluster.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", restConfig.Host, err)
	}
	return client, nil
}

// namespace returns that of -n, or of the context.
func (o *options) namespace() (string, error) {
	namespace, _, err := o.cluster.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("find the namespace: %w", err)
	}
	return namespace, nil
}

// aws returns the configuration that AWS's command line would use.
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
