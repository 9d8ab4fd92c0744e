// Package rolepolicy owns the question which roles the pods of a namespace may
// have. It is pure. IAM's trust policies are the boundary between workloads;
// this is defense in depth for clusters in which many may write ServiceAccounts.
package rolepolicy

import (
	"fmt"
	"slices"
)

// Mode says which namespaces are held to a policy.
type Mode string

const (
	// Off permits every role.
	Off Mode = "off"
	// On holds those namespaces to a policy that have one.
	On Mode = "on"
	// Require permits nothing to a namespace that has none.
	Require Mode = "require"
)

// ParseMode reads the value of a flag.
func ParseMode(s string) (Mode, error) {
	if mode := Mode(s); slices.Contains([]Mode{Off, On, Require}, mode) {
		return mode, nil
	}
	return "", fmt.Errorf("%q must be off, on or require", s)
}

// The annotations of a namespace. Ours has the annotation prefix before it.
const (
	// PermittedRolesAnnotation is a list, in JSON or comma-separated, of patterns
	// in which * stands for any characters. One with a colon is for the ARN of a
	// role, any other for its path and name, in whatever account.
	PermittedRolesAnnotation = "permitted-roles"
	// KiamAnnotation is a regular expression for the whole of a role's ARN, as in
	// kiam 4, or for the whole of its path and name, since kiam up to 3 matched
	// what the pod's annotation said (pkg/server/policy.go). It also
	// took a match of a part of it, which kiam 4 mended and we do not bring back.
	KiamAnnotation = "iam.amazonaws.com/permitted"
	// Kube2IAMAnnotation is a JSON list of patterns such as ours, which is
	// kube2iam's default format. To one that is no ARN kube2iam adds its
	// --base-role-arn (mappings/mapper.go, iam/arn.go); we know of no such base,
	// so it is for the path and name. Its other format, regular expressions,
	// cannot be told from the default, and read as one it permits too little.
	Kube2IAMAnnotation = "iam.amazonaws.com/allowed-roles"
)

// Annotations lists those that can hold a policy, the first being ours.
func Annotations(prefix string) []string {
	return []string{prefix + "/" + PermittedRolesAnnotation, KiamAnnotation, Kube2IAMAnnotation}
}

// Evaluate returns nil if the annotations of a namespace permit a role, and a
// *DeniedError if not. Our annotation, if there is one, is all that counts;
// otherwise a role is permitted that either of the others permits. A policy that
// cannot be read permits nothing: who wrote it meant to restrict.
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
		if ours := i == 0; ours {
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

// allows says whether the policy in an annotation permits a role. The error
// says why it permits none, if so.
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
