package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// DeletionSpec selects the roles to delete.
type DeletionSpec struct {
	Namespace, Name string
	// RoleName is the name of the role. If empty, all roles that kubectl irsa created for
	// the ServiceAccount are deleted.
	RoleName string
	// RoleOnly keeps the ServiceAccount unchanged.
	RoleOnly bool
}

// PlanIdentityDeletion plans the deletion of everything that PlanIdentity created for a
// ServiceAccount. The role is deleted last, because a later run finds the rest by its
// tags. It returns an error if something cannot be read, or if a role must not be deleted.
func (c *Cluster) PlanIdentityDeletion(ctx context.Context, spec DeletionSpec) (*Plan, error) {
	if err := checkServiceAccount(spec.Namespace, spec.Name); err != nil {
		return nil, err
	}
	plan := &Plan{For: "deletion of the role of ServiceAccount " + spec.Namespace + "/" + spec.Name}
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
		plan.addUnchanged(Delete, kindRole, cmp.Or(spec.RoleName, RoleName(c.Name, spec.Namespace, spec.Name)), "kubectl irsa created no role for the ServiceAccount")
	}
	for _, role := range roles {
		c.warnOtherSubjects(plan, spec, role)
		if err := c.planRoleDeletion(ctx, plan, role); err != nil {
			return nil, err
		}
	}
	if len(roles) > 0 {
		c.warnPods(ctx, plan, spec)
	}
	return plan, nil
}

// warnOtherSubjects adds a warning to the plan if the trust policy of a role allows other
// subjects. They lose their permissions with the role.
func (c *Cluster) warnOtherSubjects(plan *Plan, spec DeletionSpec, r *role) {
	policy, err := trustpolicy.Parse([]byte(r.trust))
	if err != nil {
		return
	}
	others := slices.DeleteFunc(policy.AllowedSubjects(), func(subject string) bool { return subject == token.Subject(spec.Namespace, spec.Name) })
	if len(others) > 0 {
		plan.warn("role %s also trusts %s, which lose its permissions", r.name, strings.Join(others, ", "))
	}
}

// maxListedPods is the maximum number of pods that a warning names.
const maxListedPods = 5

// warnPods adds a warning to the plan if pods run as the ServiceAccount. It adds none if the
// caller may not list pods.
func (c *Cluster) warnPods(ctx context.Context, plan *Plan, spec DeletionSpec) {
	if c.Client == nil {
		return
	}
	pods, err := c.Client.CoreV1().Pods(spec.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.serviceAccountName", spec.Name).String(), Limit: maxListedPods,
	})
	if err != nil || len(pods.Items) == 0 {
		return
	}
	var names []string
	for i := range pods.Items {
		names = append(names, pods.Items[i].Name)
	}
	if pods.Continue != "" {
		names = append(names, "and others")
	}
	plan.warn("pods run as ServiceAccount %s/%s and lose the permissions of the role: %s", spec.Namespace, spec.Name, strings.Join(names, ", "))
}

// rolesToDelete returns the roles that kubectl irsa created for the ServiceAccount, or only
// the one named spec.RoleName. If the caller may not list roles, it finds only the role of
// the annotation and the role of the default name. It returns an error if kubectl irsa did
// not create the role spec.RoleName for the ServiceAccount.
func (c *Cluster) rolesToDelete(ctx context.Context, plan *Plan, spec DeletionSpec, existing *serviceAccount) ([]*role, error) {
	if spec.RoleName != "" {
		named, err := c.readRole(ctx, spec.RoleName)
		if err != nil || named == nil {
			return nil, err
		}
		if !c.isManagedFor(named.tags, spec.Namespace, spec.Name) {
			return nil, fmt.Errorf("delete role %s: its tags show that kubectl irsa did not create it for ServiceAccount %s/%s of this cluster; delete the role with the tool that created it",
				named.arn, spec.Namespace, spec.Name)
		}
		return []*role{named}, nil
	}
	roles, err := c.managedRoles(ctx)
	if IsDenied(err) {
		plan.warn("could not list other roles of the ServiceAccount, so they are kept: %v", err)
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

// planAccountDeletion plans the deletion of the ServiceAccount or of its annotations.
func (c *Cluster) planAccountDeletion(ctx context.Context, plan *Plan, spec DeletionSpec, existing *serviceAccount, roles []*role) error {
	name := spec.Namespace + "/" + spec.Name
	if existing == nil {
		plan.addUnchanged(Delete, kindServiceAccount, name, "does not exist")
		return nil
	}
	annotation := existing.prefix + "/" + identity.RoleARNAnnotation
	current := existing.role()
	remove, err := c.shouldRemoveAnnotation(ctx, existing, roles)
	if err != nil {
		return err
	}
	switch {
	case current != "" && !remove:
		plan.addUnchanged(Update, kindServiceAccount, name, "keep annotation "+annotation+"="+current+", which names another role")
	case existing.createdByTool():
		plan.addChange(Delete, kindServiceAccount, name, []string{"created by kubectl irsa"}, func(ctx context.Context) error {
			return c.deleteAccount(ctx, existing)
		})
	case current == "":
		plan.addUnchanged(Update, kindServiceAccount, name, "has no role annotation and was not created by kubectl irsa")
	default:
		c.planAnnotationRemoval(plan, name, existing)
	}
	return nil
}

// planAnnotationRemoval plans the removal of the role annotation, and of the audience
// annotation if kubectl irsa wrote it.
func (c *Cluster) planAnnotationRemoval(plan *Plan, name string, existing *serviceAccount) {
	annotation := existing.prefix + "/" + identity.RoleARNAnnotation
	removed := map[string]any{annotation: nil}
	details := []string{"remove annotation " + annotation + "=" + existing.role()}
	audience := existing.prefix + "/" + identity.AudienceAnnotation
	if existing.annotationManagedByTool(audience) {
		removed[audience] = nil
		details = append(details, "remove annotation "+audience+"="+existing.Annotations[audience])
	}
	plan.addChange(Update, kindServiceAccount, name, details, func(ctx context.Context) error {
		return c.patch(ctx, existing, removed)
	})
}

// shouldRemoveAnnotation reports whether the ServiceAccount names one of the roles, or
// kubectl irsa annotated it with a role that no longer exists.
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

// planRoleDeletion plans the deletion of a role and the detachment of its managed policies,
// which are kept. It returns an error if the role has inline policies: kubectl irsa creates
// none, and they would be lost.
func (c *Cluster) planRoleDeletion(ctx context.Context, plan *Plan, r *role) error {
	inline, err := c.inlinePolicies(ctx, r.name)
	if err != nil {
		return err
	}
	if len(inline) > 0 {
		return fmt.Errorf("delete role %s: the role has the inline policies %s, which kubectl irsa did not create and which would be lost; delete them first: aws iam delete-role-policy --role-name %s --policy-name %s",
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

// ignoreNotFound returns nil if the object no longer exists in IAM, and err otherwise.
func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}
