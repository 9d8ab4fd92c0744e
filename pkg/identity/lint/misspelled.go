package lint

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// spellings maps similar names to the names of the annotations. The keys are lowercase and
// without separators.
var spellings = map[string]string{
	"rolearn": identity.RoleARNAnnotation, "rolearns": identity.RoleARNAnnotation, "role": identity.RoleARNAnnotation,
	"iamrole": identity.RoleARNAnnotation, "iamrolearn": identity.RoleARNAnnotation, "awsrolearn": identity.RoleARNAnnotation,
	"audience": identity.AudienceAnnotation, "audiences": identity.AudienceAnnotation, "tokenaudience": identity.AudienceAnnotation,
	"stsregionalendpoints": identity.STSRegionalEndpointsAnnotation, "stsregionalendpoint": identity.STSRegionalEndpointsAnnotation,
	"regionalstsendpoints": identity.STSRegionalEndpointsAnnotation, "regionalsts": identity.STSRegionalEndpointsAnnotation,
	"tokenexpiration": identity.TokenExpirationAnnotation, "tokenexpirationseconds": identity.TokenExpirationAnnotation,
	"tokenexpiry": identity.TokenExpirationAnnotation, "expirationseconds": identity.TokenExpirationAnnotation,
	"rolesessionname": identity.RoleSessionNameAnnotation, "sessionname": identity.RoleSessionNameAnnotation,
	"stsendpoint": identity.STSEndpointAnnotation, "stsendpoints": identity.STSEndpointAnnotation, "stsendpointurl": identity.STSEndpointAnnotation,
	"targetrolearn": identity.TargetRoleARNAnnotation, "targetrole": identity.TargetRoleARNAnnotation,
	"targetexternalid": identity.TargetExternalIDAnnotation,
	"skipcontainers":   identity.SkipContainersAnnotation, "skipcontainer": identity.SkipContainersAnnotation,
	"includecontainers": identity.IncludeContainersAnnotation, "includecontainer": identity.IncludeContainersAnnotation,
}

// longestSpelling is the length of the longest of spellings.
const longestSpelling = len("tokenexpirationseconds")

// domains lists prefixes that users write instead of the webhook's prefix. eks.amazonaws.com is
// not in the list: if the webhook has another prefix, annotations with eks.amazonaws.com are
// for EKS's own webhook.
var domains = []string{
	"amazonaws.com", "aws.amazon.com", "eks", "eks.amazon.aws.com", "eks.amazon.com", "eks.amazonaws", "eks.amazonaws.com.cn",
	"eks.amazonaws.io", "eks.amazonws.com", "eks-amazonaws-com", "eksamazonaws.com", "eks.aws", "eks.aws.amazon.com", "eks.aws.com", "iam.amazonaws.com", "sts.amazonaws.com",
}

const awsDomain = "eks.amazonaws.com"

// kube2iamRole is the annotation with the role of a pod for kube2iam and kiam.
const kube2iamRole = "iam.amazonaws.com/role"

// maxMisspelled is the maximum number of findings. Annotations can have 256 KiB, and all of them
// can be misspelled.
const maxMisspelled = 20

// Misspelled finds keys that are probably misspelled annotations of the webhook. It ignores a
// key if the correct annotation is also there. The findings are never Invalid, because another
// program can use these keys. It returns at most maxMisspelled findings. It is called for each
// pod, so it allocates no memory if there are none.
func Misspelled(annotations map[string]string, prefix string) []Finding {
	var findings []Finding
	for key, value := range annotations {
		name := closestKey(key, value, prefix)
		if name == "" {
			continue
		}
		suggested := prefix + "/" + name
		if _, ok := annotations[suggested]; ok {
			continue
		}
		message := truncateQuoted(key) + " is not read: did you mean " + suggested + "?"
		if key == kube2iamRole {
			message = key + " is for kube2iam, kiam: set " + suggested + " on the ServiceAccount"
		}
		findings = append(findings, Finding{Annotation: key, Value: value, SuggestedKey: suggested, Message: message})
	}
	slices.SortFunc(findings, byAnnotation)
	return findings[:min(len(findings), maxMisspelled)]
}

// closestKey returns the name of the annotation that key is a misspelling of. It returns "" if
// key is spelled correctly or is not similar to an annotation.
func closestKey(key, value, prefix string) string {
	domain, name := cutDomain(key, prefix)
	match := normalizedMatch(name)
	if match == "" && domain == prefix {
		match = withinOneEditOf(name)
	}
	switch {
	case match == "", domain == prefix && name == match && strings.Contains(key, "/"):
		return ""
	case domain == "":
		// Other programs also use keys without a domain, so the value must be an ARN of a role.
		if match == identity.RoleARNAnnotation && identity.IsRoleARN(value) {
			return match
		}
		return ""
	case strings.EqualFold(domain, prefix), slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) }):
		return match
	case prefix == awsDomain && oneEditApart(domain, awsDomain):
		// Other prefixes can be similar on purpose, such as irsa-a and irsa-b.
		return match
	default:
		return ""
	}
}

// cutDomain cuts a key at its slash. If there is no slash, it cuts at the character that follows
// the prefix, or else at the last dot.
func cutDomain(key, prefix string) (domain, name string) {
	at := strings.IndexByte(key, '/')
	if at < 0 && strings.HasPrefix(key, prefix) && len(key) > len(prefix) {
		at = len(prefix)
	}
	if at < 0 {
		at = strings.LastIndexByte(key, '.')
	}
	return key[:max(at, 0)], key[at+1:]
}

// names are the names of all annotations.
var names = []string{
	identity.RoleARNAnnotation, identity.AudienceAnnotation, identity.STSRegionalEndpointsAnnotation,
	identity.TokenExpirationAnnotation, identity.RoleSessionNameAnnotation, identity.STSEndpointAnnotation,
	identity.TargetRoleARNAnnotation, identity.TargetExternalIDAnnotation,
	identity.SkipContainersAnnotation, identity.IncludeContainersAnnotation,
}

// withinOneEditOf returns the annotation that differs from name by one edit, or "".
func withinOneEditOf(name string) string {
	for _, annotation := range names {
		if oneEditApart(name, annotation) {
			return annotation
		}
	}
	return ""
}

// oneEditApart reports whether a and b are equal or differ by one edit: a character added,
// removed or replaced, or two adjacent characters swapped.
func oneEditApart(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
	return len(a) <= 1 && len(b) <= 1 || swapped
}

// normalizedMatch returns the annotation in spellings for a name, or "". It ignores case and
// separators.
func normalizedMatch(name string) string {
	var folded [longestSpelling]byte
	length := 0
	for _, c := range []byte(name) {
		switch {
		case c == '-' || c == '_' || c == '.':
			continue
		case length == len(folded):
			return ""
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		folded[length] = c
		length++
	}
	return spellings[string(folded[:length])]
}
