package trustpolicy

import (
	"fmt"
	"strings"
)

// subjectPrefix is that of the subjects of ServiceAccounts
// (k8s.io/apiserver/pkg/authentication/serviceaccount).
const subjectPrefix = "system:serviceaccount:"

// subjectHint says how a subject in a policy differs from that of a token.
func subjectHint(expected, found string) string {
	namespace, name, ok := cutSubject(found)
	if !ok {
		return "the token is not a ServiceAccount's"
	}
	rest, prefixed := strings.CutPrefix(expected, subjectPrefix)
	expectedNamespace, expectedName, split := strings.Cut(rest, ":")
	switch {
	case !prefixed:
		return unprefixedHint(expected, namespace, name, found)
	case strings.Contains(rest, "/"):
		return "a colon is between namespace and name, not a slash: did you mean " + found + "?"
	case !split:
		return "it names no ServiceAccount: the form is " + subjectPrefix + "NAMESPACE:NAME"
	case like(namespace, newPattern(expectedNamespace)):
		return fmt.Sprintf("the namespace is right, but the ServiceAccount is %s, not %s", name, expectedName)
	case like(name, newPattern(expectedName)):
		return fmt.Sprintf("the ServiceAccount's name is right, but its namespace is %s, not %s", namespace, expectedNamespace)
	case expectedNamespace == name && expectedName == namespace:
		return "namespace and name are exchanged: did you mean " + found + "?"
	default:
		return ""
	}
}

// unprefixedHint is for a subject that does not begin as those of ServiceAccounts.
func unprefixedHint(expected, namespace, name, found string) string {
	switch strings.ReplaceAll(expected, "/", ":") {
	case namespace + ":" + name, name:
		return subjectPrefix + " is missing before it: did you mean " + found + "?"
	}
	if strings.HasPrefix(expected, "system:serviceaccounts:") {
		return "that is the group of a namespace's ServiceAccounts, which a token does not have: did you mean " + subjectPrefix + namespace + ":*, with " + opLike + "?"
	}
	if strings.EqualFold(expected[:min(len(expected), len(subjectPrefix))], subjectPrefix) {
		return subjectPrefix + " is in lower case: did you mean " + found + "?"
	}
	return "the subject of a ServiceAccount begins with " + subjectPrefix
}

// cutSubject takes the subject of a ServiceAccount apart.
func cutSubject(subject string) (namespace, name string, ok bool) {
	rest, prefixed := strings.CutPrefix(subject, subjectPrefix)
	namespace, name, split := strings.Cut(rest, ":")
	return namespace, name, prefixed && split
}

// audienceHint says how the audience in a policy differs from that of a token.
func audienceHint(expected, found string) string {
	switch {
	case expected == DefaultAudience && strings.HasPrefix(found, "https://"):
		return "the token is for " + found + ", which is an API server's audience: it is not the one that the webhook mounts at AWS_WEB_IDENTITY_TOKEN_FILE"
	case expected == DefaultAudience:
		return "the token is for " + found + ": that comes from the annotation audience of the ServiceAccount, or the webhook's --token-audience"
	case found == DefaultAudience && strings.Contains(expected, "://"):
		return "that is an issuer's or an API server's URL: the webhook's tokens are for " + DefaultAudience
	case found == DefaultAudience:
		return "the webhook's tokens are for " + DefaultAudience + ", unless the annotation audience says otherwise"
	default:
		return ""
	}
}
