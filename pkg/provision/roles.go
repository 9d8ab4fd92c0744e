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

// role is what IAM has.
type role struct {
	name, arn, path, description string
	// trust is its trust policy in JSON.
	trust    string
	boundary string
	tags     map[string]string
}

// readRole returns nil if IAM has none of that name.
func (c *Cluster) readRole(ctx context.Context, name string) (*role, error) {
	found, err := c.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read role %s: %w", name, awsError(err))
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
	// IAM encodes the documents that it returns as in a URL
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html).
	trust, err := url.PathUnescape(aws.ToString(found.AssumeRolePolicyDocument))
	if err != nil {
		return nil, fmt.Errorf("read the trust policy of role %s: %w", read.name, err)
	}
	read.trust = trust
	return read, nil
}

// scanRoles lists the roles of the account. IAM gives neither tags nor
// boundaries with them
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html).
func (c *Cluster) scanRoles(ctx context.Context) ([]*role, error) {
	var roles []*role
	const mostItems = 1000
	pages := iam.NewListRolesPaginator(c.IAM, &iam.ListRolesInput{MaxItems: aws.Int32(mostItems)})
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

// descriptionStart begins the description of each role that is made here.
const descriptionStart = "Made by kubectl irsa"

// maybeManaged says whether it is worth a call to see the tags of a role: it trusts
// the cluster, or its description says that it was made here.
func (c *Cluster) maybeManaged(r *role) bool {
	return strings.HasPrefix(r.description, descriptionStart) || strings.Contains(r.trust, `"`+c.ProviderARN()+`"`)
}

// readsAtOnce is few enough for IAM's limit on calls.
const readsAtOnce = 8

// managedRoles returns the roles that were made here for this cluster, by name.
func (c *Cluster) managedRoles(ctx context.Context) ([]*role, error) {
	scanned, err := c.scanRoles(ctx)
	if err != nil {
		return nil, err
	}
	candidates := slices.DeleteFunc(scanned, func(r *role) bool { return !c.maybeManaged(r) })
	read := make([]*role, len(candidates))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for i, candidate := range candidates {
		group.Go(func() (err error) {
			read[i], err = c.readRole(groupCtx, candidate.name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(read, func(r *role) bool { return r == nil || !c.isManaged(r.tags) })
	slices.SortFunc(ours, func(a, b *role) int { return strings.Compare(a.name, b.name) })
	return ours, nil
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

// inlinePolicies returns the names of the policies that are a part of a role.
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
