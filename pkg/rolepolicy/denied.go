package rolepolicy

import (
	"errors"
	"fmt"
)

// errNoPolicy is the fault of a namespace without the policy that Require needs.
var errNoPolicy = errors.New("no policy")

// DeniedError is the error of Evaluate if a namespace does not permit a role.
type DeniedError struct {
	Namespace, Role string
	// Annotation is the annotation of the namespace that holds the policy, and
	// Policy is its value. If the namespace lacks a required policy, Annotation is
	// the annotation to add. If two policies deny the role, Annotation is the first
	// of them: changing one is enough.
	Annotation, Policy string
	// Fault is the reason why Policy permits no role at all, or nil.
	Fault error
}

const (
	// maxRoleLength is the length in bytes of the longest role ARN. It has
	// arn:aws-us-gov:iam::111122223333:role, a path of 512 and a name of 64. See the page
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
	// in the AWS documentation.
	maxRoleLength = 37 + 512 + 64
	// maxQuotedPolicy is the number of bytes of a policy that a message quotes.
	maxQuotedPolicy = 200
)

// Error returns a message with the namespace, the role, the policy and the next step.
func (e *DeniedError) Error() string {
	role := quote(e.Role, maxRoleLength)
	if errors.Is(e.Fault, errNoPolicy) {
		return fmt.Sprintf("role %s is not permitted in namespace %s: the namespace has no annotation %s, which --role-policy=require needs; ask the owner of the namespace to add it",
			role, e.Namespace, e.Annotation)
	}
	policy := quote(e.Policy, maxQuotedPolicy)
	if e.Fault != nil {
		return fmt.Sprintf("role %s is not permitted in namespace %s: its annotation %s is %s, which permits no role (%v); ask the owner of the namespace to fix it",
			role, e.Namespace, e.Annotation, policy, e.Fault)
	}
	return fmt.Sprintf("role %s is not permitted in namespace %s: its annotation %s is %s; use a role that it permits, or ask the owner of the namespace to add this role",
		role, e.Namespace, e.Annotation, policy)
}

// quote returns s in quotes, cut to maxLength bytes. An annotation can have 256 KiB,
// and the message is logged and shown by kubectl.
func quote(s string, maxLength int) string {
	if len(s) <= maxLength {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:maxLength])
}
