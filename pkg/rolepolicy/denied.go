package rolepolicy

import (
	"errors"
	"fmt"
)

// errNoPolicy is the fault of a policy that is required and not there.
var errNoPolicy = errors.New("there is none")

// DeniedError says that the pods of a namespace may not have a role.
type DeniedError struct {
	Namespace, Role string
	// Annotation holds the policy, which is Policy. If there is none and one is
	// required, it is the annotation to add. If two policies deny the role, it is
	// the first: to change one of them is enough.
	Annotation, Policy string
	// Fault says why Policy permits no role at all, if so.
	Fault error
}

const (
	// maxRoleLength is the length in bytes of the longest ARN of a role:
	// arn:aws-us-gov:iam::111122223333:role, a path of 512 and a name of 64
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	maxRoleLength = 37 + 512 + 64
	// maxQuotedPolicy is what of a policy fits in a message that people read.
	maxQuotedPolicy = 200
)

// Error names namespace, role and policy, and says what to do.
func (e *DeniedError) Error() string {
	role := quote(e.Role, maxRoleLength)
	if errors.Is(e.Fault, errNoPolicy) {
		return fmt.Sprintf("role %s is not permitted in namespace %s, which has no annotation %s, and one is required: ask who owns the namespace to add it",
			role, e.Namespace, e.Annotation)
	}
	policy := quote(e.Policy, maxQuotedPolicy)
	if e.Fault != nil {
		return fmt.Sprintf("role %s is not permitted in namespace %s, whose annotation %s is %s, which permits no role since %v: ask who owns the namespace to mend it",
			role, e.Namespace, e.Annotation, policy, e.Fault)
	}
	return fmt.Sprintf("role %s is not permitted in namespace %s, whose annotation %s is %s: use a role that it permits, or ask who owns the namespace to add this one",
		role, e.Namespace, e.Annotation, policy)
}

// quote cuts s: who writes an annotation may fill 256 KiB, and the message goes
// to logs and to kubectl.
func quote(s string, longest int) string {
	if len(s) <= longest {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:longest])
}
