// Package provision owns what IAM and the cluster must hold so that pods get an
// identity: the OIDC provider of the cluster's issuer, a role for a
// ServiceAccount, and the annotation that names the role. It plans first and
// changes nothing while it does; a plan is then carried out step by step. What
// is made bears tags that say for whom, and nothing else is ever deleted. It
// decides nothing about who may have which rights.
package provision

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/client-go/kubernetes"
)

// DefaultAudience is the client id that AWS's SDKs and STS expect.
const DefaultAudience = "sts.amazonaws.com"

// Cluster is a cluster with the account whose roles its ServiceAccounts get.
type Cluster struct {
	// Issuer is the URL that the cluster's tokens have as iss.
	Issuer string
	// Name begins the names of roles that are made without one.
	Name    string
	Account Account
	IAM     *iam.Client
	// Client is the cluster's own; only what is done to ServiceAccounts needs it.
	Client kubernetes.Interface
	// AnnotationPrefix is that of the webhook.
	AnnotationPrefix string
	// Reach says why the issuer's documents cannot be read by anybody; nil: not tried.
	Reach func(ctx context.Context, issuer string) error
}

// Account is the AWS account that is called, and the partition that it is in.
type Account struct {
	// Partition is "aws", "aws-cn", "aws-us-gov" and so on; ID has 12 digits.
	Partition, ID string
}

// FindAccount asks STS whose credentials these are.
func FindAccount(ctx context.Context, client *sts.Client) (Account, error) {
	caller, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Account{}, fmt.Errorf("find the AWS account: %w: check the AWS credentials by aws sts get-caller-identity", awsError(err))
	}
	// The ARN is the only place that tells the partition
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
	parts := strings.SplitN(aws.ToString(caller.Arn), ":", 3)
	if len(parts) < 3 || parts[0] != "arn" || parts[1] == "" || aws.ToString(caller.Account) == "" {
		return Account{}, fmt.Errorf("find the AWS account: STS says that it is %q with the ARN %q, which names no account of a partition",
			aws.ToString(caller.Account), aws.ToString(caller.Arn))
	}
	return Account{Partition: parts[1], ID: aws.ToString(caller.Account)}, nil
}

// ProviderARN is the ARN that IAM gives the provider of the cluster's issuer.
func (c *Cluster) ProviderARN() string {
	return c.arn("oidc-provider/" + c.issuerName())
}

// issuerName is the issuer as IAM names it, without its scheme
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html).
func (c *Cluster) issuerName() string {
	_, name, found := strings.Cut(c.Issuer, "://")
	if !found {
		return c.Issuer
	}
	return name
}

func (c *Cluster) arn(resource string) string {
	return "arn:" + c.Account.Partition + ":iam::" + c.Account.ID + ":" + resource
}

// roleNamed returns the name of the role that an ARN of this account names, or
// "" if it names none.
func (c *Cluster) roleNamed(arn string) string {
	path, found := strings.CutPrefix(arn, c.arn("role/"))
	if !found {
		return ""
	}
	return path[strings.LastIndex(path, "/")+1:]
}
