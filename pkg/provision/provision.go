// Package provision sets up IAM and the cluster so that pods get AWS credentials. It
// creates and deletes the OIDC provider of the cluster, the roles of ServiceAccounts, and
// the annotations that name them.
//
// Functions that begin with Plan read the current state and change nothing. Plan.Apply
// then makes the changes step by step. Created objects in IAM have tags that name the
// cluster and the ServiceAccount; objects without these tags are not deleted unless
// forced. The package attaches managed policies, but does not define permissions.
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

// DefaultAudience is the audience that AWS's SDKs and STS expect.
const DefaultAudience = "sts.amazonaws.com"

// Cluster is a cluster and the AWS account of its roles.
type Cluster struct {
	// Issuer is the URL in the claim iss of the cluster's tokens.
	Issuer string
	// Name is the first part of default role names.
	Name    string
	Account Account
	IAM     *iam.Client
	// Client is the client of the cluster, used only for ServiceAccounts and namespaces.
	Client kubernetes.Interface
	// AnnotationPrefix is the webhook's --annotation-prefix.
	AnnotationPrefix string
	// Reach returns an error if the issuer's documents cannot be read without
	// credentials. If Reach is nil, this is not checked.
	Reach func(ctx context.Context, issuer string) error
}

// Account is an AWS account and its partition.
type Account struct {
	// Partition is "aws", "aws-cn", "aws-us-gov" or another one. ID has 12 digits.
	Partition, ID string
}

// FindAccount returns the account of the client's credentials, which STS returns.
func FindAccount(ctx context.Context, client *sts.Client) (Account, error) {
	caller, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Account{}, fmt.Errorf("get the AWS account: %w; check the AWS credentials with: aws sts get-caller-identity", awsError(err))
	}
	// Only the ARN contains the partition
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
	parts := strings.SplitN(aws.ToString(caller.Arn), ":", 3)
	if len(parts) < 3 || parts[0] != "arn" || parts[1] == "" || aws.ToString(caller.Account) == "" {
		return Account{}, fmt.Errorf("get the AWS account: STS returned the account %q and the ARN %q, which have no account or no partition",
			aws.ToString(caller.Account), aws.ToString(caller.Arn))
	}
	return Account{Partition: parts[1], ID: aws.ToString(caller.Account)}, nil
}

// ProviderARN returns the ARN of the OIDC provider of the cluster's issuer.
func (c *Cluster) ProviderARN() string {
	return c.arn("oidc-provider/" + c.issuerName())
}

// issuerName returns the issuer without its scheme, as IAM names it
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

// roleNamed returns the name of the role in an ARN. It returns "" if the ARN is not that of
// a role of this account.
func (c *Cluster) roleNamed(arn string) string {
	path, found := strings.CutPrefix(arn, c.arn("role/"))
	if !found {
		return ""
	}
	return path[strings.LastIndex(path, "/")+1:]
}
