// Package rolepolicy owns the question which roles the pods of a namespace may
// have. It is pure. IAM's trust policies are the boundary between workloads;
// this is defence in depth for clusters in which many may write ServiceAccounts.
package rolepolicy

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
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
	PermittedRolesAnnotation = "permitted-roles"
	// KiamAnnotation is a regular expression that must match the whole of the
	// role, as kiam has it (pkg/server/policy.go). A role may be written there
	// by its name or as an ARN.
	KiamAnnotation = "iam.amazonaws.com/permitted"
	// Kube2IAMAnnotation is a JSON list of globs; one that is no ARN is a name
	// (mappings/mapper.go of kube2iam, with its default format of glob).
	Kube2IAMAnnotation = "iam.amazonaws.com/allowed-roles"
)

// Annotations lists those that can hold a policy, the first being ours.
func Annotations(prefix string) []string {
	return []string{prefix + "/" + PermittedRolesAnnotation, KiamAnnotation, Kube2IAMAnnotation}
}

// DeniedError says that the pods of a namespace may not have a role.
type DeniedError struct {
	Namespace, Role string
	// Annotation holds the policy, which is Policy; both are empty if a policy
	// is required and there is none.
	Annotation, Policy string
	// Fault says why the policy cannot be read, if so.
	Fault error
}

// Error names namespace, role and policy, and says what to do.
func (e *DeniedError) Error() string {
	const longest = 200
	policy := e.Policy
	if len(policy) > longest {
		policy = policy[:longest] + "..."
	}
	switch {
	case e.Annotation == "":
		return fmt.Sprintf("role %q is not permitted in namespace %s, which has no annotation %s: ask who owns the namespace to add one",
			e.Role, e.Namespace, PermittedRolesAnnotation)
	case e.Fault != nil:
		return fmt.Sprintf("role %q is not permitted in namespace %s, whose annotation %s is %q, which cannot be read (%v): mend it",
			e.Role, e.Namespace, e.Annotation, policy, e.Fault)
	default:
		return fmt.Sprintf("role %q is not permitted in namespace %s, whose annotation %s is %q: use a role that it permits, or ask who owns the namespace to add this one",
			e.Role, e.Namespace, e.Annotation, policy)
	}
}

// Evaluate returns nil if the annotations of a namespace permit a role, and a
// *DeniedError if not. Our annotation, if there is one, is all that counts;
// otherwise a role is permitted that either of the others permits. A policy that
// cannot be read permits nothing.
func Evaluate(mode Mode, prefix, namespace string, annotations map[string]string, role string) error {
	if mode == Off {
		return nil
	}
	denied := &DeniedError{Namespace: namespace, Role: role}
	for i, annotation := range Annotations(prefix) {
		policy, ok := annotations[annotation]
		if !ok {
			continue
		}
		permitted, err := permits(annotation, policy, role)
		if permitted {
			return nil
		}
		if denied.Annotation == "" {
			denied.Annotation, denied.Policy, denied.Fault = annotation, policy, err
		}
		if i == 0 {
			return denied
		}
	}
	if denied.Annotation == "" && mode == On {
		return nil
	}
	return denied
}

func permits(annotation, policy, role string) (bool, error) {
	if annotation == KiamAnnotation {
		return matchesKiam(policy, role)
	}
	read := readList
	if annotation == Kube2IAMAnnotation {
		read = readJSONList
	}
	patterns, err := read(policy)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, role) }), nil
}

func matchesKiam(expression, role string) (bool, error) {
	if expression == "" {
		return false, errors.New("it is empty")
	}
	// Parentheses keep an alternative from escaping the anchors.
	compiled, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return false, errors.New("it is no regular expression")
	}
	return compiled.MatchString(role) || compiled.MatchString(nameOf(role)), nil
}

// readList reads a list in JSON, or as one record of comma-separated values.
func readList(policy string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(policy), "[") {
		return readJSONList(policy)
	}
	if strings.TrimSpace(policy) == "" {
		return nil, errors.New("it is empty")
	}
	patterns, err := csv.NewReader(strings.NewReader(policy)).Read()
	if err != nil {
		return nil, errors.New("it is no list of comma-separated values")
	}
	for i, pattern := range patterns {
		patterns[i] = strings.TrimSpace(pattern)
	}
	return patterns, nil
}

func readJSONList(policy string) ([]string, error) {
	var patterns []string
	if err := json.Unmarshal([]byte(policy), &patterns); err != nil {
		return nil, errors.New("it is no JSON list of strings")
	}
	return patterns, nil
}

// matches says whether a pattern, in which * stands for any characters, matches
// the whole of a role's ARN or, if it is no ARN itself, of its path and name.
func matches(pattern, role string) bool {
	if !strings.Contains(pattern, ":") {
		// So a role with a colon in its name, which IAM does not allow, cannot
		// pass for another.
		return pattern == "*" || identity.Glob(strings.TrimPrefix(pattern, "/"), nameOf(role))
	}
	return identity.Glob(pattern, role)
}

// nameOf returns the path and name of the role in an ARN, or what is no ARN.
func nameOf(role string) string {
	if _, name, ok := strings.Cut(role, ":role/"); ok {
		return name
	}
	return role
}
