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
	// provisionTimeout limits a command, including the wait for a new role.
	provisionTimeout = 5 * time.Minute
	// anyRegion is the region if none is configured. IAM has no regions, and this region
	// has an STS endpoint.
	anyRegion = "us-east-1"
)

// provisionOptions are the common options of provider and serviceaccount.
type provisionOptions struct {
	*options
	issuer, clusterName, annotationPrefix string
	// issuerCAFile is a file with the CA of the issuer's server, or empty.
	issuerCAFile string
	approve      bool
	// readsCluster reports whether the command needs the cluster even with --issuer.
	readsCluster bool
}

// connector returns the cluster and the account for plans.
type connector func(context.Context, *provisionOptions) (*provision.Cluster, error)

func (p *provisionOptions) addIssuerFlag(flags *pflag.FlagSet) {
	flags.StringVar(&p.issuer, "issuer", "", "Issuer of the cluster's tokens. Defaults to the issuer that the API server publishes.")
}

func (p *provisionOptions) addIssuerCAFlag(flags *pflag.FlagSet) {
	flags.StringVar(&p.issuerCAFile, "issuer-ca-file", "", "PEM `file` with the CA of the issuer's documents, if this machine does not trust it.")
}

func (p *provisionOptions) addApproveFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&p.approve, "approve", false, "If true, apply the plan. Otherwise print the plan and change nothing.")
}

func (p *provisionOptions) addAccountFlags(flags *pflag.FlagSet) {
	p.addIssuerFlag(flags)
	flags.StringVar(&p.annotationPrefix, "annotation-prefix", "eks.amazonaws.com", "Prefix of the annotations, the webhook's --annotation-prefix.")
	flags.StringVar(&p.clusterName, "cluster-name", "", "Prefix of role names. Defaults to the last path segment of the issuer URL, or to the first part of its host.")
}

// withCluster calls do with the cluster and the account.
func (p *provisionOptions) withCluster(cmd *cobra.Command, do func(context.Context, *provision.Cluster) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), provisionTimeout)
	defer cancel()
	cluster, err := p.connect(ctx, p)
	if err != nil {
		return err
	}
	return do(ctx, cluster)
}

// runPlan prints the plan that newPlan returns, and applies it if it is approved.
func (p *provisionOptions) runPlan(cmd *cobra.Command, newPlan func(context.Context, *provision.Cluster) (*provision.Plan, error)) error {
	return p.withCluster(cmd, func(ctx context.Context, cluster *provision.Cluster) error {
		plan, err := newPlan(ctx, cluster)
		if err != nil {
			return err
		}
		return p.printPlan(ctx, plan, p.approve && !p.dryRun)
	})
}

// reportReadError prints the error of a read that failed for missing permissions. It also
// prints result as JSON or YAML if -o asks for it. It returns the exit code.
func (p *provisionOptions) reportReadError(err error, result any) error {
	fmt.Fprintf(p.ErrOut, "kubectl irsa: %v\n", err)
	if err := p.print(result, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	return exitCodeError(exitUnknown)
}

// connect is the connector of the program. It reads the issuer from the cluster unless
// --issuer is set, and the account from STS.
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
	reach, err := issuerReader(p.issuerCAFile)
	if err != nil {
		return nil, err
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
	return p.newCluster(provision.Cluster{Account: account, IAM: iam.NewFromConfig(config), Client: client, Reach: reach})
}

// newCluster sets the fields of cluster that come from flags. It returns an error if the
// issuer is invalid.
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

// issuerReader returns a function that returns an error if the issuer's documents cannot be
// read without credentials, as AWS reads them. It trusts the CA in caFile too, if the name
// is not empty. It returns an error if the file cannot be used.
func issuerReader(caFile string) (func(ctx context.Context, issuerURL string) error, error) {
	client, err := issuerClient(caFile)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, issuerURL string) error {
		_, err := issuer.Discover(ctx, client, issuerURL)
		return err
	}, nil
}
