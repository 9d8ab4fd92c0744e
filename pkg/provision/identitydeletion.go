package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// DeletionSpec says whose identity ends.
type DeletionSpec struct {
	Namespace, Name string
	// RoleName is the role's; empty: each that was made for the ServiceAccount.
	RoleName string
	// RoleOnly leaves the ServiceAccount to somebody else.
	RoleOnly bool
}

// PlanIdentityDeletion plans the end of what was made for a ServiceAccount. The
// role goes last: its tags are what a next run finds the rest by.
func (c *Cluster) PlanIdentityDeletion(ctx context.Context, spec DeletionSpec) (*Plan, error) {
	if err := checkServiceAccount(spec.Namespace, spec.Name); err != nil {
		return nil, err
	}
	plan := &Plan{For: "end of the identity of ServiceAccount " + spec.Namespace + "/" + spec.Name}
	var existing *serviceAccount
	if !spec.RoleOnly {
		found, err := c.readAccount(ctx, spec.Namespace, spec.Name)
		if err != nil {
			return nil, err
		}
		existing = found
	}
	roles, err := c.rolesToDelete(ctx, plan, spec, existing)
	if err != nil {
		return nil, err
	}
	if !spec.RoleOnly {
		if err := c.planAccountDeletion(ctx, plan, spec, existing, roles); err != nil {
			return nil, err
		}
	}
	if len(roles) == 0 {
		plan.addUnchanged(Delete, kindRole, cmp.Or(spec.RoleName, RoleName(c.Name, spec.Namespace, spec.Name)), "there is none that kubectl irsa made for it")
	}
	for _, role := range roles {
		if err := c.planRoleDeletion(ctx, plan, role); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// rolesToDelete returns the roles that were made for the ServiceAccount: by the
// name given, or all of the account. Whoever may not list roles gets those that
// the annotation and the default name lead to.
func (c *Cluster) rolesToDelete(ctx context.Context, plan *Plan, spec DeletionSpec, existing *serviceAccount) ([]*role, error) {
	if spec.RoleName != "" {
		named, err := c.readRole(ctx, spec.RoleName)
		if err != nil || named == nil {
			return nil, err
		}
		if !c.isManagedFor(named.tags, spec.Namespace, spec.Name) {
			return nil, fmt.Errorf("delete role %s: it was not made by kubectl irsa for ServiceAccount %s/%s of this cluster, as its tags say: leave it to whoever made it",
				named.arn, spec.Namespace, spec.Name)
		}
		return []*role{named}, nil
	}
	roles, err := c.managedRoles(ctx)
	if IsDenied(err) {
		plan.warn("other roles that were made for the ServiceAccount cannot be seen: %v", err)
		roles, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range []string{c.roleNamed(existing.role()), RoleName(c.Name, spec.Namespace, spec.Name)} {
		if name == "" || slices.ContainsFunc(roles, func(r *role) bool { return r.name == name }) {
			continue
		}
		candidate, err := c.readRole(ctx, name)
		if err != nil {
			return nil, err
		}
		if candidate != nil {
			roles = append(roles, candidate)
		}
	}
	return slices.DeleteFunc(roles, func(r *role) bool { return !c.isManagedFor(r.tags, spec.Namespace, spec.Name) }), nil
}

// planAccountDeletion takes from the ServiceAccount what was put there.
func (c *Cluster) planAccountDeletion(ctx context.Context, plan *Plan, spec DeletionSpec, existing *serviceAccount, roles []*role) error {
	name := spec.Namespace + "/" + spec.Name
	if existing == nil {
		plan.addUnchanged(Delete, kindServiceAccount, name, "there is none")
		return nil
	}
	annotation := existing.prefix + "/" + identity.RoleARNAnnotation
	current := existing.role()
	goes, err := c.shouldRemoveAnnotation(ctx, existing, roles)
	if err != nil {
		return err
	}
	switch {
	case current != "" && !goes:
		plan.addUnchanged(Update, kindServiceAccount, name, "it has another role, which stays: annotation "+annotation+"="+current)
	case existing.createdByTool():
		plan.addChange(Delete, kindServiceAccount, name, []string{"kubectl irsa created it"}, func(ctx context.Context) error {
			return c.deleteAccount(ctx, existing)
		})
	case current == "":
		plan.addUnchanged(Update, kindServiceAccount, name, "it has no role, and was not created by kubectl irsa")
	default:
		c.planAnnotationRemoval(plan, name, existing)
	}
	return nil
}

// planAnnotationRemoval removes the role, and the audience if it was written
// here.
func (c *Cluster) planAnnotationRemoval(plan *Plan, name string, existing *serviceAccount) {
	annotation := existing.prefix + "/" + identity.RoleARNAnnotation
	gone := map[string]any{annotation: nil}
	details := []string{"without annotation " + annotation + "=" + existing.role()}
	audience := existing.prefix + "/" + identity.AudienceAnnotation
	if existing.annotationManagedByTool(audience) {
		gone[audience] = nil
		details = append(details, "without annotation "+audience+"="+existing.Annotations[audience])
	}
	plan.addChange(Update, kindServiceAccount, name, details, func(ctx context.Context) error {
		return c.patch(ctx, existing, gone)
	})
}

// shouldRemoveAnnotation says whether the role that a ServiceAccount names is one of those that
// go, or was written here and is gone already.
func (c *Cluster) shouldRemoveAnnotation(ctx context.Context, a *serviceAccount, roles []*role) (bool, error) {
	current := a.role()
	if slices.ContainsFunc(roles, func(r *role) bool { return r.arn == current }) {
		return true, nil
	}
	named := c.roleNamed(current)
	if named == "" || !a.annotationManagedByTool(a.prefix+"/"+identity.RoleARNAnnotation) {
		return false, nil
	}
	found, err := c.readRole(ctx, named)
	return found == nil && err == nil, err
}

// planRoleDeletion refuses a role into which somebody else has put something
// that would be lost with it. A managed policy is only detached, and stays.
func (c *Cluster) planRoleDeletion(ctx context.Context, plan *Plan, r *role) error {
	inline, err := c.inlinePolicies(ctx, r.name)
	if err != nil {
		return err
	}
	if len(inline) > 0 {
		return fmt.Errorf("delete role %s: it has the inline policies %s, which kubectl irsa does not write and which would be lost: aws iam delete-role-policy --role-name %s --policy-name %s",
			r.arn, strings.Join(inline, ", "), r.name, inline[0])
	}
	attached, err := c.attachedPolicies(ctx, r.name)
	if err != nil {
		return err
	}
	for _, policy := range attached {
		plan.addChange(Delete, kindAttachment, policy, []string{"to role " + r.name}, func(ctx context.Context) error {
			_, err := c.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String(r.name), PolicyArn: aws.String(policy)}, retryUntilVisible(isBusy))
			return ignoreNotFound(err)
		})
	}
	plan.addChange(Delete, kindRole, r.arn, nil, func(ctx context.Context) error {
		_, err := c.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String(r.name)}, retryUntilVisible(isNotYetDetached))
		return ignoreNotFound(err)
	})
	return nil
}

// ignoreNotFound takes it for done that somebody else was faster.
func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}
