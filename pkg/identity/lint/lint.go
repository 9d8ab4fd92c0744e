// Package lint owns the question whether annotations say what their writer
// probably meant. It is pure, and decides nothing about pods.
package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Finding is something in an annotation that is probably a mistake.
type Finding struct {
	// Annotation is the full key.
	Annotation string
	// Message says what is wrong, and shows what would be right.
	Message string
	// Meant is the annotation that was probably meant, for a near miss.
	Meant string
	// Hard says that it cannot be right; others are only warned about.
	Hard bool
}

// quoted returns a value for a message, cut if it is long.
func quoted(value string) string {
	const longest = 50
	if len(value) > longest {
		value = value[:longest] + "..."
	}
	return strconv.Quote(value)
}

// account gathers findings about the annotations of a ServiceAccount.
type account struct {
	annotations map[string]string
	prefix      string
	findings    []Finding
}

func (a *account) value(name string) (string, bool) {
	value, ok := a.annotations[a.prefix+"/"+name]
	return value, ok
}

func (a *account) add(name string, hard bool, format string, args ...any) {
	key := a.prefix + "/" + name
	a.findings = append(a.findings, Finding{
		Annotation: key, Hard: hard,
		Message: fmt.Sprintf("%s %s "+format, append([]any{key, quoted(a.annotations[key])}, args...)...),
	})
}

// Account finds mistakes in our annotations on a ServiceAccount. composes says
// that bare role names are made ARNs.
func Account(annotations map[string]string, prefix string, composes bool) []Finding {
	a := &account{annotations: annotations, prefix: prefix}
	a.role(identity.RoleARNAnnotation, composes)
	a.role(identity.TargetRoleARNAnnotation, composes)
	a.audience()
	a.expiration()
	if value, ok := a.value(identity.STSRegionalEndpointsAnnotation); ok {
		if _, err := strconv.ParseBool(value); err != nil {
			a.add(identity.STSRegionalEndpointsAnnotation, true, "is neither true nor false")
		}
	}
	if value, ok := a.value(identity.RoleSessionNameAnnotation); ok && !identity.IsSessionName(value) {
		a.add(identity.RoleSessionNameAnnotation, true, "is neither pod-name nor 2 to 64 letters, digits or _+=,.@-")
	}
	if value, ok := a.value(identity.STSEndpointAnnotation); ok && !identity.IsEndpoint(value) {
		a.add(identity.STSEndpointAnnotation, true, "is no URL such as https://sts.example.com")
	}
	a.externalID()
	for _, name := range []string{identity.SkipContainersAnnotation, identity.IncludeContainersAnnotation} {
		if _, ok := a.value(name); ok {
			a.add(name, true, "has no effect on a ServiceAccount: put it on the pods")
		}
	}
	return append(a.findings, Misspelt(annotations, prefix)...)
}

const exampleRole = "arn:aws:iam::111122223333:role/my-role"

// Faults of a role, by what can be seen in it, from the most to the least telling.
var roleFaults = []struct {
	seen  *regexp.Regexp
	fault string
}{
	{regexp.MustCompile(`^\s|\s$`), "has spaces around it"},
	{regexp.MustCompile(`["']`), "has quotes in it"},
	{regexp.MustCompile(`^arn:aws[^:]*:sts::`), "is the ARN of a session, not of a role"},
	{regexp.MustCompile(`^arn:aws[^:]*:iam::[^:]*:(user|group|policy|instance-profile)/`), "is the ARN of something else than a role"},
	{regexp.MustCompile(`^arn:aws[^:]*:iam::[^:]*:role/.*/$`), "ends in a slash: a role has a name"},
	{regexp.MustCompile(`^arn:aws[^:]*:iam:[^:]+:`), "has a region, which ARNs of IAM do not have"},
	{regexp.MustCompile(`^arn:aws[^:]*:iam::\d{12}:[^/]*$`), "lacks role/ before the name"},
	{regexp.MustCompile(`^arn:aws[^:]*:iam::`), "needs an account id of 12 digits and the name of a role"},
	{regexp.MustCompile(`^arn:aws`), "is the ARN of something else than a role"},
}

func (a *account) role(name string, composes bool) {
	value, ok := a.value(name)
	if !ok || identity.IsRoleARN(value) {
		return
	}
	for _, fault := range roleFaults {
		if fault.seen.MatchString(value) {
			a.add(name, true, "%s: a role is %s", fault.fault, exampleRole)
			return
		}
	}
	switch {
	case value == "":
		a.add(name, false, "is empty: it gives no role")
	case strings.HasPrefix(value, "arn:"):
		// The roles of other stores with an STS have ARNs of their own.
		a.add(name, false, "is no role of AWS, whose are %s", exampleRole)
	case !composes:
		a.add(name, true, "is no ARN: a role is %s", exampleRole)
	}
}

func (a *account) audience() {
	value, ok := a.value(identity.AudienceAnnotation)
	switch {
	case !ok:
	case value == "":
		a.add(identity.AudienceAnnotation, false, "is empty: the default is used")
	case strings.TrimSpace(value) != value:
		a.add(identity.AudienceAnnotation, true, "has spaces around it, as in sts.amazonaws.com")
	case strings.HasSuffix(value, "://sts.amazonaws.com"):
		a.add(identity.AudienceAnnotation, false, "is a URL: AWS expects sts.amazonaws.com")
	}
}

// maxExpiration is a day, the longest life that EKS gives a token.
const maxExpiration = 86400

func (a *account) expiration() {
	const name = identity.TokenExpirationAnnotation
	value, ok := a.value(name)
	if !ok {
		return
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		a.add(name, true, "is no number of seconds, such as 3600")
	case seconds < 600 || seconds > maxExpiration:
		a.add(name, false, "is outside 600..%d seconds", maxExpiration)
	}
}

// externalIDs is STS's rule
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
var externalIDs = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)

const maxExternalID = 1224

func (a *account) externalID() {
	const name = identity.TargetExternalIDAnnotation
	value, ok := a.value(name)
	if !ok {
		return
	}
	if len(value) > maxExternalID || !externalIDs.MatchString(value) {
		a.add(name, true, "is not 2 to 1224 letters, digits or _+=,.@:/-")
	}
	if _, ok := a.value(identity.TargetRoleARNAnnotation); !ok {
		a.add(name, false, "goes with %s, which is not there", identity.TargetRoleARNAnnotation)
	}
}

// Names of annotations that count on a ServiceAccount only.
var accountOnly = []string{
	identity.RoleARNAnnotation, identity.AudienceAnnotation, identity.STSRegionalEndpointsAnnotation,
	identity.STSEndpointAnnotation, identity.TargetRoleARNAnnotation, identity.TargetExternalIDAnnotation,
}

// Pod finds annotations of a pod that belong on its ServiceAccount, and near
// misses.
func Pod(annotations map[string]string, prefix, serviceAccount string) []Finding {
	if len(annotations) == 0 {
		return nil
	}
	var findings []Finding
	for _, name := range accountOnly {
		if _, ok := annotations[prefix+"/"+name]; ok {
			findings = append(findings, Finding{
				Annotation: prefix + "/" + name,
				Message:    fmt.Sprintf("%s/%s has no effect on a pod: put it on its ServiceAccount %s", prefix, name, serviceAccount),
			})
		}
	}
	return append(findings, Misspelt(annotations, prefix)...)
}

// spellings are our names without anything but letters, and other words that are
// used for them.
var spellings = map[string]string{
	"rolearn": identity.RoleARNAnnotation, "iamrolearn": identity.RoleARNAnnotation, "iamrole": identity.RoleARNAnnotation,
	"rolearns": identity.RoleARNAnnotation, "role": identity.RoleARNAnnotation,
	"audience": identity.AudienceAnnotation, "audiences": identity.AudienceAnnotation,
	"stsregionalendpoints": identity.STSRegionalEndpointsAnnotation, "stsregionalendpoint": identity.STSRegionalEndpointsAnnotation,
	"tokenexpiration": identity.TokenExpirationAnnotation, "tokenexpirationseconds": identity.TokenExpirationAnnotation,
	"rolesessionname": identity.RoleSessionNameAnnotation, "sessionname": identity.RoleSessionNameAnnotation,
	"stsendpoint": identity.STSEndpointAnnotation, "stsendpointurl": identity.STSEndpointAnnotation,
	"targetrolearn": identity.TargetRoleARNAnnotation, "targetexternalid": identity.TargetExternalIDAnnotation,
	"skipcontainers": identity.SkipContainersAnnotation, "skipcontainer": identity.SkipContainersAnnotation,
	"includecontainers": identity.IncludeContainersAnnotation, "includecontainer": identity.IncludeContainersAnnotation,
}

// domains are prefixes that are written in place of ours. eks.amazonaws.com is
// not one of them: beside another prefix of ours it is EKS's own webhook's.
var domains = []string{
	"eks.amazon.com", "eks.aws.com", "eks.amazonaws.io", "eks.amazonaws", "amazonaws.com", "aws.amazon.com", "iam.amazonaws.com", "eks",
}

// Misspelt finds annotations that were probably meant as ours. They are never
// Hard: another program may have a use for them.
func Misspelt(annotations map[string]string, prefix string) []Finding {
	var findings []Finding
	for key := range annotations {
		domain, name, ok := strings.Cut(key, "/")
		if !ok {
			domain, name, ok = cutLast(key, ".")
		}
		if !ok || domain != prefix && !slices.Contains(domains, strings.ToLower(domain)) {
			continue
		}
		if key == "iam.amazonaws.com/role" {
			findings = append(findings, Finding{Annotation: key, Meant: prefix + "/" + identity.RoleARNAnnotation, Message: key +
				" is read by kube2iam and kiam: here the ServiceAccount names the role, in " + prefix + "/" + identity.RoleARNAnnotation})
			continue
		}
		meant := spellings[letters(name)]
		if meant != "" && key != prefix+"/"+meant {
			findings = append(findings, Finding{Annotation: key, Meant: prefix + "/" + meant, Message: fmt.Sprintf("%s is not read: did you mean %s/%s?", quoted(key), prefix, meant)})
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int { return strings.Compare(a.Annotation, b.Annotation) })
	return findings
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// letters returns the letters of s, in lower case.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return -1
		}
	}, s)
}
