package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

const (
	// provisionTimeout bounds a whole command: a role that was made is waited for.
	provisionTimeout = 5 * time.Minute
	// anyRegion is for who has none configured: IAM has none, and STS is there.
	anyRegion = "us-east-1"
)

// provisionOptions is what the commands that plan share.
type provisionOptions struct {
	*options
	issuer, clusterName, annotationPrefix string
	approve                               bool
	// readsCluster says that a kubeconfig is needed even where --issuer is given.
	readsCluster bool
}

// connector finds the cluster and the account that plans are made for.
type connector func(context.Context, *provisionOptions) (*provision.Cluster, error)

func (p *provisionOptions) addIssuerFlag(flags *pflag.FlagSet) {
	flags.StringVar(&p.issuer, "issuer", "", "issuer of the cluster's tokens; by default that which the API server names")
}

func (p *provisionOptions) addApproveFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&p.approve, "approve", false, "If true, apply the plan. Otherwise print the plan and change nothing.")
}

func (p *provisionOptions) addAccountFlags(flags *pflag.FlagSet) {
	p.addIssuerFlag(flags)
	flags.StringVar(&p.annotationPrefix, "annotation-prefix", "eks.amazonaws.com", "prefix of the annotations, as the webhook has it")
	flags.StringVar(&p.clusterName, "cluster-name", "", "Prefix of role names. Defaults to the last path segment of the issuer URL.")
}

// withCluster runs what needs the cluster and the account.
func (p *provisionOptions) withCluster(cmd *cobra.Command, do func(context.Context, *provision.Cluster) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), provisionTimeout)
	defer cancel()
	cluster, err := p.connect(ctx, p)
	if err != nil {
		return err
	}
	return do(ctx, cluster)
}

// runPlan prints a plan, and does it if that is approved.
func (p *provisionOptions) runPlan(cmd *cobra.Command, make func(context.Context, *provision.Cluster) (*provision.Plan, error)) error {
	return p.withCluster(cmd, func(ctx context.Context, cluster *provision.Cluster) error {
		plan, err := make(ctx, cluster)
		if err != nil {
			return err
		}
		return p.printPlan(ctx, plan, p.approve && !p.dryRun)
	})
}

// reportReadError tells what the caller's rights do not suffice for, to programs in the
// form that they have asked for.
func (p *provisionOptions) reportReadError(err error, result any) error {
	fmt.Fprintf(p.ErrOut, "kubectl irsa: %v\n", err)
	if err := p.print(result, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	return exitCodeError(exitUnknown)
}

func connect(ctx context.Context, p *provisionOptions) (*provision.Cluster, error) {
	var client kubernetes.Interface
	if p.issuer == "" || p.readsCluster {
		found, err := p.client()
		if err != nil {
			return nil, err
		}
		client = found
	}
	if p.issuer == "" {
		found, err := provision.FindIssuer(ctx, client.Discovery().RESTClient())
		if err != nil {
			return nil, err
		}
		p.issuer = found
	}
	config, err := p.aws(ctx)
	if err != nil {
		return nil, err
	}
	if config.Region == "" {
		config.Region = anyRegion
	}
	account, err := provision.FindAccount(ctx, sts.NewFromConfig(config))
	if err != nil {
		return nil, err
	}
	return p.newCluster(provision.Cluster{Account: account, IAM: iam.NewFromConfig(config), Client: client, Reach: checkIssuerReachable})
}

// newCluster completes a cluster by what the flags say.
func (p *provisionOptions) newCluster(cluster provision.Cluster) (*provision.Cluster, error) {
	if err := provision.CheckIssuer(p.issuer); err != nil {
		return nil, err
	}
	cluster.Issuer, cluster.Name, cluster.AnnotationPrefix = p.issuer, p.clusterName, p.annotationPrefix
	if cluster.Name == "" {
		cluster.Name = provision.ClusterName(p.issuer)
	}
	return &cluster, nil
}

// checkIssuerReachable reads the issuer's documents as AWS does, without credentials.
func checkIssuerReachable(ctx context.Context, issuerURL string) error {
	_, err := issuer.Discover(ctx, nil, issuerURL)
	return err
}
