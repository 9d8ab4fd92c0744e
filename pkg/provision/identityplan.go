package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// defaultAccount is the ServiceAccount of pods that name none.
const defaultAccount = "default"

// IdentitySpec is the role that a ServiceAccount should have.
type IdentitySpec struct {
	Namespace, Name string
	// RoleName is the name of the role. If empty, the name is that of the role that the
	// ServiceAccount has, if kubectl irsa created it for the ServiceAccount. Otherwise
	// it is the name that the function RoleName returns.
	RoleName string
	// Path is the path of a new role; "/" if empty.
	Path string
	// PolicyARNs are managed policies to attach. The role can have others.
	PolicyARNs []string
	// Boundary is the ARN of the permissions boundary. If empty, the role keeps its own.
	Boundary string
	// Audience is the audience of the pods' tokens. If empty, it is that of the
	// ServiceAccount's annotation, or DefaultAudience.
	Audience string
	Tags     map[string]string
	// RoleOnly keeps the ServiceAccount unchanged.
	RoleOnly bool
	// CreateNamespace creates the namespace if it does not exist.
	CreateNamespace bool
	// Override replaces other values of the ServiceAccount's annotations.
	Override bool
}

func (s IdentitySpec) check() error {
	if err := checkServiceAccount(s.Namespace, s.Name); err != nil {
		return err
	}
	if s.RoleName != "" {
		if err := checkRoleName(s.RoleName); err != nil {
			return err
		}
	}
	if s.Path != "" {
		if err := checkPath(s.Path); err != nil {
			return err
		}
	}
	for _, arn := range s.PolicyARNs {
		if !isPolicyARN(arn) {
			return fmt.Errorf("--attach-policy-arn %q: not the ARN of a managed policy, such as arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", arn)
		}
	}
	if s.Boundary != "" && !isPolicyARN(s.Boundary) {
		return fmt.Errorf("--permissions-boundary %q: not the ARN of a managed policy", s.Boundary)
	}
	return checkTags(s.Tags)
}

// checkServiceAccount returns an error if a name is invalid. It also rejects wildcards,
// because a trust policy with them would allow many ServiceAccounts.
func checkServiceAccount(namespace, name string) error {
	if faults := validation.ValidateNamespaceName(namespace, false); len(faults) > 0 {
		return fmt.Errorf("invalid namespace %q: %s", namespace, strings.Join(faults, "; "))
	}
	if faults := validation.ValidateServiceAccountName(name, false); len(faults) > 0 {
		return fmt.Errorf("invalid ServiceAccount %q: %s", name, strings.Join(faults, "; "))
	}
	return nil
}

// checkPartition returns an error if a policy is in another partition than the account.
func (c *Cluster) checkPartition(spec IdentitySpec) error {
	for _, arn := range append([]string{spec.Boundary}, spec.PolicyARNs...) {
		if arn != "" && !strings.HasPrefix(arn, "arn:"+c.Account.Partition+":") {
			return fmt.Errorf("policy %s is not in partition %s of account %s", arn, c.Account.Partition, c.Account.ID)
		}
	}
	return nil
}

func isPolicyARN(arn string) bool {
	return strings.HasPrefix(arn, "arn:") && strings.Contains(arn, ":iam::") && strings.Contains(arn, ":policy/")
}

// PlanIdentity plans the role of a ServiceAccount and the annotation that names it. The
// annotation comes last, so that no pod gets a role before the role has its permissions.
// It returns an error if spec is invalid, something cannot be read, or the role or the
// ServiceAccount already has another use.
func (c *Cluster) PlanIdentity(ctx context.Context, spec IdentitySpec) (*Plan, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	if err := c.checkPartition(spec); err != nil {
		return nil, err
	}
	account, err := c.readAccount(ctx, spec.Namespace, spec.Name)
	if err != nil && (!spec.RoleOnly || !apierrors.IsForbidden(err)) {
		return nil, err
	}
	if spec.Audience == "" {
		spec.Audience = account.audience()
	}
	if spec.RoleOnly {
		account = nil
	}
	existing, err := c.selectRole(ctx, &spec, account)
	if err != nil {
		return nil, err
	}
	plan := &Plan{For: "role of ServiceAccount " + spec.Namespace + "/" + spec.Name}
	c.warnProvider(ctx, plan, spec.Audience)
	if spec.Name == defaultAccount {
		plan.warn("each pod of namespace %s that names no ServiceAccount runs as %s, so it gets the role too; use a ServiceAccount of the workload's own", spec.Namespace, defaultAccount)
	}
	arn, err := c.planRole(ctx, plan, spec, existing)
	if err != nil {
		return nil, err
	}
	if spec.RoleOnly {
		return plan, nil
	}
	return plan, c.planAccount(ctx, plan, spec, account, arn)
}

// selectRole sets spec.RoleName if it is empty. It returns the role of that name, or nil
// if it does not exist. It returns an error if the role exists, but kubectl irsa did not
// create it for the ServiceAccount.
func (c *Cluster) selectRole(ctx context.Context, spec *IdentitySpec, account *serviceAccount) (*role, error) {
	if named := c.roleNamed(account.role()); spec.RoleName == "" && named != "" {
		current, err := c.readRole(ctx, named)
		if err != nil {
			return nil, err
		}
		if current != nil && c.isManagedFor(current.tags, spec.Namespace, spec.Name) {
			spec.RoleName = named
			return current, nil
		}
	}
	if spec.RoleName == "" {
		spec.RoleName = RoleName(c.Name, spec.Namespace, spec.Name)
	}
	existing, err := c.readRole(ctx, spec.RoleName)
	if err != nil || existing == nil {
		return nil, err
	}
	if !c.isManagedFor(existing.tags, spec.Namespace, spec.Name) {
		return nil, fmt.Errorf("role %s exists, but kubectl irsa did not create it for this ServiceAccount: the role does not have the tags %s=%s, %s=%s, %s=%s; "+
			"pass another --role-name, or annotate the ServiceAccount with this role yourself", existing.arn,
			tagIssuer, c.issuerName(), tagNamespace, spec.Namespace, tagServiceAccount, spec.Name)
	}
	return existing, nil
}

// warnProvider adds a warning to the plan if pods cannot assume the role yet, or if that
// cannot be checked.
func (c *Cluster) warnProvider(ctx context.Context, plan *Plan, audience string) {
	existing, err := c.readProvider(ctx)
	switch {
	case err != nil:
		plan.warn("could not check whether IAM has the OIDC provider of the cluster: %v", err)
	case existing == nil:
		plan.warn("IAM has no OIDC provider %s, so no pod can assume the role yet; run: kubectl irsa provider create --approve", c.ProviderARN())
	case !slices.Contains(existing.audiences, audience):
		plan.warn("the OIDC provider %s does not accept the audience %s; run: kubectl irsa provider create --audience %s --approve", c.ProviderARN(), audience, audience)
	}
}

// planRole adds the steps for the role to the plan. It returns the ARN that the role has or
// will have.
func (c *Cluster) planRole(ctx context.Context, plan *Plan, spec IdentitySpec, existing *role) (string, error) {
	if existing == nil {
		trust, err := c.trustPolicy(spec)
		if err != nil {
			return "", err
		}
		arn := c.arn("role" + cmp.Or(spec.Path, "/") + spec.RoleName)
		c.createRole(plan, spec, arn, trust)
		c.attachPolicies(plan, spec, spec.PolicyARNs)
		if len(spec.PolicyARNs) == 0 {
			plan.warn(noPoliciesWarning, spec.RoleName)
		}
		return arn, nil
	}
	if spec.Path != "" && spec.Path != existing.path {
		plan.warn("role %s has the path %s, which IAM cannot change to %s; delete the role first to move it", existing.name, existing.path, spec.Path)
	}
	if err := c.updateRole(plan, spec, existing); err != nil {
		return "", err
	}
	attached, err := c.attachedPolicies(ctx, existing.name)
	if err != nil {
		return "", err
	}
	c.attachPolicies(plan, spec, spec.PolicyARNs, attached...)
	if len(attached)+len(spec.PolicyARNs) == 0 {
		// An error leaves the warning out: the caller may not list inline policies.
		if inline, err := c.inlinePolicies(ctx, existing.name); err == nil && len(inline) == 0 {
			plan.warn(noPoliciesWarning, existing.name)
		}
	}
	return existing.arn, nil
}

const noPoliciesWarning = "role %s has no policies, so it permits nothing; pass --attach-policy-arn, or attach a policy yourself"

func (c *Cluster) grant(spec IdentitySpec) trustpolicy.Grant {
	return trustpolicy.Grant{
		Provider: c.ProviderARN(), Audience: spec.Audience,
		Subjects: []trustpolicy.Subject{{Namespace: spec.Namespace, ServiceAccount: spec.Name}},
	}
}

// trustPolicy returns the trust policy that allows only the ServiceAccount's pods.
func (c *Cluster) trustPolicy(spec IdentitySpec) ([]byte, error) {
	document, err := trustpolicy.New(c.grant(spec))
	if err != nil {
		return nil, fmt.Errorf("role %s: %w", spec.RoleName, err)
	}
	encoded, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode the trust policy of role %s: %w", spec.RoleName, err)
	}
	return encoded, nil
}

func trustDetail(spec IdentitySpec) string {
	return "trusts " + token.Subject(spec.Namespace, spec.Name) + " with audience " + spec.Audience
}

func (c *Cluster) createRole(plan *Plan, spec IdentitySpec, arn string, trust []byte) {
	tags := c.roleTags(spec.Namespace, spec.Name, spec.Tags)
	details := []string{trustDetail(spec)}
	input := &iam.CreateRoleInput{
		RoleName: aws.String(spec.RoleName), Path: aws.String(cmp.Or(spec.Path, "/")),
		AssumeRolePolicyDocument: aws.String(string(trust)), Tags: toIAM(tags),
		Description: aws.String(descriptionStart + " for ServiceAccount " + spec.Namespace + "/" + spec.Name + " of " + c.issuerName()),
	}
	if spec.Boundary != "" {
		input.PermissionsBoundary = aws.String(spec.Boundary)
		details = append(details, "permissions boundary "+spec.Boundary)
	}
	plan.addChange(Create, kindRole, arn, append(details, tagDetails(tags)...), func(ctx context.Context) error {
		if _, err := c.IAM.CreateRole(ctx, input); err != nil {
			return err
		}
		return c.waitForRole(ctx, spec.RoleName)
	})
}

// updateRole plans the changes of an existing role. It returns an error if the trust policy
// of the role is invalid, or has no space for another statement.
func (c *Cluster) updateRole(plan *Plan, spec IdentitySpec, existing *role) error {
	plan.addUnchanged(Create, kindRole, existing.arn)
	name := aws.String(existing.name)
	if err := c.extendTrust(plan, spec, existing); err != nil {
		return fmt.Errorf("trust policy of role %s: %w", existing.name, err)
	}
	if spec.Boundary != "" && spec.Boundary != existing.boundary {
		details := []string{"permissions boundary " + spec.Boundary}
		if existing.boundary != "" {
			details = append(details, "instead of "+existing.boundary)
		}
		plan.addChange(Update, kindRole, existing.arn, details, func(ctx context.Context) error {
			_, err := c.IAM.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(spec.Boundary)}, retryUntilVisible(isNotYetVisible))
			return err
		})
	}
	if missing := missingTags(existing.tags, spec.Tags); len(missing) > 0 {
		plan.addChange(Update, kindRole, existing.arn, tagDetails(missing), func(ctx context.Context) error {
			_, err := c.IAM.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: toIAM(missing)}, retryUntilVisible(isNotYetVisible))
			return err
		})
	}
	return nil
}

// extendTrust plans one more statement in the trust policy of a role, if none allows the
// ServiceAccount. It keeps all other statements, because they may be in use.
func (c *Cluster) extendTrust(plan *Plan, spec IdentitySpec, existing *role) error {
	policy, err := trustpolicy.Parse([]byte(existing.trust))
	if err != nil {
		return err
	}
	claims := token.Claims{Subject: token.Subject(spec.Namespace, spec.Name), Audience: []string{spec.Audience}}
	decision := policy.Evaluate(trustpolicy.ForToken(c.ProviderARN(), claims, "").At(time.Now()))
	if decision.Allowed {
		for _, warning := range policy.Broad() {
			plan.warn("trust policy of role %s: %s", existing.name, warning)
		}
	}
	if decision.ExplicitDeny {
		plan.warn("pods cannot assume role %s: %s", existing.name, strings.Join(decision.Explain(), "; "))
	}
	if !decision.NeedsAllow() {
		return nil
	}
	extended, trust, err := trustpolicy.Add([]byte(existing.trust), c.grant(spec))
	if err != nil {
		return err
	}
	if length := extended.Length(); length > trustpolicy.DefaultMaxLength {
		plan.warn("the trust policy of role %s will have %d characters, and the default limit of IAM is %d", existing.name, length, trustpolicy.DefaultMaxLength)
	}
	plan.addChange(Update, kindRole, existing.arn, []string{trustDetail(spec), "adds a statement to the trust policy and keeps all others"}, func(ctx context.Context) error {
		_, err := c.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{
			RoleName: aws.String(existing.name), PolicyDocument: aws.String(string(trust)),
		}, retryUntilVisible(isNotYetVisible))
		return err
	})
	return nil
}

// attachPolicies plans the attachment of the wanted policies. It detaches no other policy,
// because running pods may need its permissions. It adds a warning for each of them.
func (c *Cluster) attachPolicies(plan *Plan, spec IdentitySpec, wanted []string, attached ...string) {
	for _, policy := range wanted {
		details := []string{"to role " + spec.RoleName}
		if slices.Contains(attached, policy) {
			plan.addUnchanged(Create, kindAttachment, policy, details...)
			continue
		}
		plan.addChange(Create, kindAttachment, policy, details, func(ctx context.Context) error {
			_, err := c.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(spec.RoleName), PolicyArn: aws.String(policy)}, retryUntilVisible(isNotYetVisible))
			return err
		})
	}
	for _, policy := range attached {
		if !slices.Contains(wanted, policy) {
			plan.warn("role %s also has the policy %s, which stays attached; if it is not needed, run: aws iam detach-role-policy --role-name %s --policy-arn %s",
				spec.RoleName, policy, spec.RoleName, policy)
		}
	}
}
