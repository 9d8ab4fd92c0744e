package provision

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"golang.org/x/sync/errgroup"
)

// role is a role in IAM.
type role struct {
	name, arn, path, description string
	// trust is the trust policy in JSON.
	trust    string
	boundary string
	tags     map[string]string
}

// readRole returns the role of a name, or nil if it does not exist.
func (c *Cluster) readRole(ctx context.Context, name string) (*role, error) {
	found, err := c.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get role %s: %w", name, awsError(err))
	}
	return newRole(found.Role)
}

func newRole(found *types.Role) (*role, error) {
	read := &role{
		name: aws.ToString(found.RoleName), arn: aws.ToString(found.Arn), path: aws.ToString(found.Path),
		description: aws.ToString(found.Description), tags: fromIAM(found.Tags),
	}
	if found.PermissionsBoundary != nil {
		read.boundary = aws.ToString(found.PermissionsBoundary.PermissionsBoundaryArn)
	}
	// IAM returns documents URL-encoded. See the page
	// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html
	// in the AWS documentation.
	trust, err := url.PathUnescape(aws.ToString(found.AssumeRolePolicyDocument))
	if err != nil {
		return nil, fmt.Errorf("decode the trust policy of role %s: %w", read.name, err)
	}
	read.trust = trust
	return read, nil
}

// scanRoles returns the roles of the account without tags and boundaries, which ListRoles
// does not return. See the page
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html
// in the AWS documentation.
func (c *Cluster) scanRoles(ctx context.Context) ([]*role, error) {
	var roles []*role
	const pageSize = 1000
	pages := iam.NewListRolesPaginator(c.IAM, &iam.ListRolesInput{MaxItems: aws.Int32(pageSize)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the roles of account %s: %w", c.Account.ID, awsError(err))
		}
		for i := range page.Roles {
			read, err := newRole(&page.Roles[i])
			if err != nil {
				return nil, err
			}
			roles = append(roles, read)
		}
	}
	return roles, nil
}

// descriptionStart is the beginning of the description of each role that kubectl irsa
// creates. managedRoles finds roles by it, so it must not change.
const descriptionStart = "Made by kubectl irsa"

// maybeManaged reports whether kubectl irsa may have created a role for the cluster. Such a
// role trusts the cluster's provider, or has the description of kubectl irsa. Only the tags
// show it for certain, and they need one more call for each role.
func (c *Cluster) maybeManaged(r *role) bool {
	return strings.HasPrefix(r.description, descriptionStart) || strings.Contains(r.trust, `"`+c.ProviderARN()+`"`)
}

// maxConcurrentReads keeps the calls below IAM's rate limit.
const maxConcurrentReads = 8

// managedRoles returns the roles that kubectl irsa created for this cluster, sorted by
// name.
func (c *Cluster) managedRoles(ctx context.Context) ([]*role, error) {
	scanned, err := c.scanRoles(ctx)
	if err != nil {
		return nil, err
	}
	candidates := slices.DeleteFunc(scanned, func(r *role) bool { return !c.maybeManaged(r) })
	read := make([]*role, len(candidates))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentReads)
	for i, candidate := range candidates {
		group.Go(func() (err error) {
			read[i], err = c.readRole(groupCtx, candidate.name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	managed := slices.DeleteFunc(read, func(r *role) bool { return r == nil || !c.isManaged(r.tags) })
	slices.SortFunc(managed, func(a, b *role) int { return strings.Compare(a.name, b.name) })
	return managed, nil
}

// attachedPolicies returns the ARNs of a role's managed policies, sorted.
func (c *Cluster) attachedPolicies(ctx context.Context, name string) ([]string, error) {
	var arns []string
	pages := iam.NewListAttachedRolePoliciesPaginator(c.IAM, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(name)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the policies of role %s: %w", name, awsError(err))
		}
		for _, policy := range page.AttachedPolicies {
			arns = append(arns, aws.ToString(policy.PolicyArn))
		}
	}
	slices.Sort(arns)
	return arns, nil
}

// inlinePolicies returns the names of a role's inline policies.
func (c *Cluster) inlinePolicies(ctx context.Context, name string) ([]string, error) {
	var names []string
	pages := iam.NewListRolePoliciesPaginator(c.IAM, &iam.ListRolePoliciesInput{RoleName: aws.String(name)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the inline policies of role %s: %w", name, awsError(err))
		}
		names = append(names, page.PolicyNames...)
	}
	return names, nil
}
