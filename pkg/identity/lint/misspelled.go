package lint

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// spellings are the names of our annotations in lower case and without
// separators, and what else is written in their place.
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

// domains are prefixes that are written in place of ours. eks.amazonaws.com is
// not one of them: beside another prefix of ours it is EKS's own webhook's.
var domains = []string{
	"amazonaws.com", "aws.amazon.com", "eks", "eks.amazon.aws.com", "eks.amazon.com", "eks.amazonaws", "eks.amazonaws.com.cn",
	"eks.amazonaws.io", "eks.amazonws.com", "eks-amazonaws-com", "eksamazonaws.com", "eks.aws", "eks.aws.amazon.com", "eks.aws.com", "iam.amazonaws.com", "sts.amazonaws.com",
}

const awsDomain = "eks.amazonaws.com"

// kube2iamRole names the role of a pod to kube2iam and kiam.
const kube2iamRole = "iam.amazonaws.com/role"

// maxMisspelled bounds what is told: annotations may be 256 KiB, each one a miss.
const maxMisspelled = 20

// Misspelled finds annotations that were probably meant as ours, where the one
// that was meant is not there. They are never Hard: another program may have a
// use for them. It returns at most maxMisspelt, and costs no memory if there are
// none, as it is called for each pod.
func Misspelled(annotations map[string]string, prefix string) []Finding {
	var findings []Finding
	for key, value := range annotations {
		name := closestKey(key, value, prefix)
		if name == "" {
			continue
		}
		meant := prefix + "/" + name
		if _, ok := annotations[meant]; ok {
			continue
		}
		message := truncateQuoted(key) + " is not read: did you mean " + meant + "?"
		if key == kube2iamRole {
			message = key + " is for kube2iam, kiam: set " + meant + " on the ServiceAccount"
		}
		findings = append(findings, Finding{Annotation: key, Value: value, SuggestedKey: meant, Message: message})
	}
	slices.SortFunc(findings, byAnnotation)
	return findings[:min(len(findings), maxMisspelled)]
}

// closestKey returns the name of the annotation that key was meant to be, or "" if
// it is that very one, or none of ours.
func closestKey(key, value, prefix string) string {
	domain, name := cutDomain(key, prefix)
	meant := normalizedMatch(name)
	if meant == "" && domain == prefix {
		meant = withinOneEditOf(name)
	}
	switch {
	case meant == "", domain == prefix && name == meant && strings.Contains(key, "/"):
		return ""
	case domain == "":
		// Without a domain it is anybody's, but for a role.
		if meant == identity.RoleARNAnnotation && identity.IsRoleARN(value) {
			return meant
		}
		return ""
	case strings.EqualFold(domain, prefix), slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) }):
		return meant
	case prefix == awsDomain && oneEditApart(domain, awsDomain):
		// Another prefix may have neighbours on purpose, such as irsa-a and irsa-b.
		return meant
	default:
		return ""
	}
}

// cutDomain cuts a key at its slash or, if it has none, at what follows our
// prefix in its place, or at its last dot.
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

// names are those of all our annotations.
var names = []string{
	identity.RoleARNAnnotation, identity.AudienceAnnotation, identity.STSRegionalEndpointsAnnotation,
	identity.TokenExpirationAnnotation, identity.RoleSessionNameAnnotation, identity.STSEndpointAnnotation,
	identity.TargetRoleARNAnnotation, identity.TargetExternalIDAnnotation,
	identity.SkipContainersAnnotation, identity.IncludeContainersAnnotation,
}

// withinOneEditOf returns the annotation that a name is one slip from, or "".
func withinOneEditOf(name string) string {
	for _, ours := range names {
		if oneEditApart(name, ours) {
			return ours
		}
	}
	return ""
}

// oneEditApart says whether one slip of the hand makes a of b: a letter too many, too
// few or wrong, or two letters swapped.
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

// normalizedMatch returns the annotation that a name spells, whatever its case and its
// separators, or "".
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
