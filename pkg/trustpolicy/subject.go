package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// subjectPrefix is the prefix of the subjects of ServiceAccounts
// (k8s.io/apiserver/pkg/authentication/serviceaccount).
const subjectPrefix = "system:serviceaccount:"

// subjectHint returns a hint how a subject in a policy differs from that of a token, or "".
func subjectHint(expected, found string) string {
	namespace, name, ok := cutSubject(found)
	if !ok {
		return "the subject of the token is not a ServiceAccount"
	}
	rest, prefixed := strings.CutPrefix(expected, subjectPrefix)
	expectedNamespace, expectedName, split := strings.Cut(rest, ":")
	switch {
	case !prefixed:
		return unprefixedHint(expected, namespace, name, found)
	case strings.Contains(rest, "/"):
		return "a colon separates namespace and name, not a slash; did you mean " + found + "?"
	case !split:
		return "the subject has no ServiceAccount name; the form is " + subjectPrefix + "NAMESPACE:NAME"
	case like(namespace, newPattern(expectedNamespace)):
		return fmt.Sprintf("the namespace matches, but the ServiceAccount is %s, not %s", name, expectedName)
	case like(name, newPattern(expectedName)):
		return fmt.Sprintf("the ServiceAccount name matches, but the namespace is %s, not %s", namespace, expectedNamespace)
	case expectedNamespace == name && expectedName == namespace:
		return "namespace and name are swapped; did you mean " + found + "?"
	default:
		return ""
	}
}

// unprefixedHint returns a hint for a subject that does not begin with subjectPrefix.
func unprefixedHint(expected, namespace, name, found string) string {
	switch strings.ReplaceAll(expected, "/", ":") {
	case namespace + ":" + name, name:
		return "the prefix " + subjectPrefix + " is missing; did you mean " + found + "?"
	}
	if strings.HasPrefix(expected, "system:serviceaccounts:") {
		return "the value is the group of a namespace's ServiceAccounts, which a token does not contain; did you mean " + subjectPrefix + namespace + ":*, with " + opLike + "?"
	}
	if strings.EqualFold(expected[:min(len(expected), len(subjectPrefix))], subjectPrefix) {
		return "the prefix " + subjectPrefix + " must be in lower case; did you mean " + found + "?"
	}
	return "the subject of a ServiceAccount begins with " + subjectPrefix
}

// cutSubject splits a subject into namespace and name, and reports whether it is that of
// a ServiceAccount.
func cutSubject(subject string) (namespace, name string, ok bool) {
	rest, prefixed := strings.CutPrefix(subject, subjectPrefix)
	namespace, name, split := strings.Cut(rest, ":")
	return namespace, name, prefixed && split
}

// audienceHint returns a hint how the audience in a policy differs from that of a token,
// or "".
func audienceHint(expected, found string) string {
	switch {
	case expected == DefaultAudience && strings.HasPrefix(found, "https://"):
		return "the token's audience is that of an API server; use the token that the webhook mounts at AWS_WEB_IDENTITY_TOKEN_FILE"
	case expected == DefaultAudience:
		return "the token's audience comes from the ServiceAccount's annotation audience or the webhook's --token-audience"
	case found == DefaultAudience && strings.Contains(expected, "://"):
		return "the value is the URL of an issuer or an API server; the webhook's tokens have the audience " + DefaultAudience
	case found == DefaultAudience:
		return "the webhook's tokens have the audience " + DefaultAudience + ", unless the annotation audience sets another"
	default:
		return ""
	}
}

// AllowedSubjects returns the values of sub in the conditions of the Allow statements, sorted
// and without duplicates. A value can have wildcards.
func (d Document) AllowedSubjects() []string {
	var subjects []string
	for _, s := range d.statements {
		for _, c := range s.conditions {
			if _, claim := cutKey(c.key); s.effect == effectAllow && claim == "sub" && !c.operator.negated() && c.operator.base != opNull {
				subjects = append(subjects, c.values...)
			}
		}
	}
	slices.Sort(subjects)
	return slices.Compact(subjects)
}
