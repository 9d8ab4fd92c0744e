// Package rolepolicy decides which roles the pods of a namespace may have, by the
// namespace's annotations. It makes no calls. IAM's trust policies are the boundary
// between workloads. This package is defense in depth for clusters in which many
// users can write ServiceAccounts.
package rolepolicy

import (
	"fmt"
	"slices"
)

// Mode selects the namespaces whose roles are restricted by a policy.
type Mode string

const (
	// Off permits every role.
	Off Mode = "off"
	// On enforces the policy of each namespace that has one.
	On Mode = "on"
	// Require also permits no role in a namespace without a policy.
	Require Mode = "require"
)

// ParseMode returns the Mode of that name. It returns an error for an unknown name.
func ParseMode(s string) (Mode, error) {
	if mode := Mode(s); slices.Contains([]Mode{Off, On, Require}, mode) {
		return mode, nil
	}
	return "", fmt.Errorf("%q must be off, on or require", s)
}

// The annotations of a namespace that can hold a policy. Only PermittedRolesAnnotation
// is preceded by the annotation prefix.
const (
	// PermittedRolesAnnotation is a list, in JSON or comma-separated, of patterns
	// in which * stands for any characters. A pattern with a colon is compared with
	// the ARN of a role. Any other is compared with its path and name, in any account.
	PermittedRolesAnnotation = "permitted-roles"
	// KiamAnnotation is a regular expression for the whole ARN of a role, as in
	// kiam 4, or for its whole path and name. kiam up to version 3 matched the
	// value of the pod's annotation (pkg/server/policy.go). Those versions also
	// accepted a match of a part. Version 4 fixed that, and so a part is not enough here.
	KiamAnnotation = "iam.amazonaws.com/permitted"
	// Kube2IAMAnnotation is a JSON list of patterns like those of
	// PermittedRolesAnnotation, which is kube2iam's default format. kube2iam adds its
	// --base-role-arn to a pattern that is not an ARN (mappings/mapper.go,
	// iam/arn.go). This package has no base, so it compares such a pattern with the
	// path and name. The other format of kube2iam, regular expressions, looks like the
	// default format. A list in that format permits too little here.
	Kube2IAMAnnotation = "iam.amazonaws.com/allowed-roles"
)

// Annotations returns the annotations that can hold a policy. The first is
// PermittedRolesAnnotation with prefix, which overrides the others.
func Annotations(prefix string) []string {
	return []string{prefix + "/" + PermittedRolesAnnotation, KiamAnnotation, Kube2IAMAnnotation}
}

// Evaluate returns nil if the annotations of a namespace permit a role. Otherwise it
// returns a *DeniedError. PermittedRolesAnnotation overrides the other annotations. If
// it is absent, the role must be permitted by one of the others. An invalid policy
// permits nothing, because its author wanted to restrict the roles.
func Evaluate(mode Mode, prefix, namespace string, annotations map[string]string, roleARN string) error {
	if mode == Off {
		return nil
	}
	var denied *DeniedError
	for i, annotation := range Annotations(prefix) {
		policy, ok := annotations[annotation]
		if !ok {
			continue
		}
		permitted, fault := allows(annotation, policy, roleARN)
		if permitted {
			return nil
		}
		if denied == nil {
			denied = &DeniedError{Namespace: namespace, Role: roleARN, Annotation: annotation, Policy: policy, Fault: fault}
		}
		if overrides := i == 0; overrides {
			break
		}
	}
	switch {
	case denied != nil:
		return denied
	case mode == On:
		return nil
	default:
		return &DeniedError{Namespace: namespace, Role: roleARN, Annotation: Annotations(prefix)[0], Fault: errNoPolicy}
	}
}

// allows reports whether the policy in an annotation permits a role. It returns an
// error if the policy is invalid and so permits no role at all.
func allows(annotation, policy, roleARN string) (bool, error) {
	if annotation == KiamAnnotation {
		return matchesExpression(policy, roleARN)
	}
	read := readList
	if annotation == Kube2IAMAnnotation {
		read = readJSONList
	}
	patterns, err := read(policy)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, roleARN) }), nil
}
