package lint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// fault is what is wrong with a value; the zero fault is none.
type fault struct {
	// text follows the annotation's key in a sentence.
	text string
	hard bool
}

func hard(text string) fault { return fault{text: text, hard: true} }
func soft(text string) fault { return fault{text: text} }

// Rules are the settings of the webhook on which it depends what annotations may say.
type Rules struct {
	// Prefix is that of the annotations, "eks.amazonaws.com".
	Prefix string
	// Composes says that bare role names are made ARNs.
	Composes bool
	// STSEndpoint is the URL of the STS where a ServiceAccount names none; empty for
	// AWS's.
	STSEndpoint string
}

// Account finds mistakes in our annotations on a ServiceAccount.
func Account(annotations map[string]string, rules Rules) []Finding {
	var findings []Finding
	prefix := rules.Prefix
	check := func(name string, find func(value string) fault) {
		key := prefix + "/" + name
		value, ok := annotations[key]
		if !ok {
			return
		}
		if found := find(value); found != (fault{}) {
			findings = append(findings, Finding{Annotation: key, Value: value, Message: key + " " + found.text, Hard: found.hard})
		}
	}
	if own := annotations[prefix+"/"+identity.STSEndpointAnnotation]; identity.IsEndpoint(own) {
		rules.STSEndpoint = own
	}
	check(identity.RoleARNAnnotation, rules.role)
	check(identity.TargetRoleARNAnnotation, func(value string) fault {
		if found := rules.role(value); found != (fault{}) {
			return found
		}
		return target(annotations[prefix+"/"+identity.RoleARNAnnotation])
	})
	check(identity.TargetExternalIDAnnotation, func(value string) fault {
		return externalID(value, annotations[prefix+"/"+identity.TargetRoleARNAnnotation])
	})
	check(identity.AudienceAnnotation, audience)
	check(identity.STSRegionalEndpointsAnnotation, boolean)
	check(identity.TokenExpirationAnnotation, expiration)
	check(identity.RoleSessionNameAnnotation, sessionName)
	check(identity.STSEndpointAnnotation, endpoint)
	check(identity.SkipContainersAnnotation, belongsOnPods)
	check(identity.IncludeContainersAnnotation, belongsOnPods)
	return append(findings, Misspelt(annotations, prefix)...)
}

// empty is the fault of an annotation without a value, which is as if it were
// not there: templates render such.
func empty() fault { return soft("is empty: the default is used") }

func boolean(value string) fault {
	if value == "" {
		return empty()
	}
	if _, err := strconv.ParseBool(value); err != nil {
		return hard("is neither true nor false")
	}
	return fault{}
}

func sessionName(value string) fault {
	switch {
	case value == "":
		return empty()
	case !identity.IsSessionName(value):
		return hard("is neither pod-name nor 2 to 64 letters, digits or _+=,.@-")
	default:
		return fault{}
	}
}

func endpoint(value string) fault {
	switch {
	case value == "":
		return empty()
	case !identity.IsEndpoint(value):
		return hard("is no URL such as https://sts.eu-west-1.amazonaws.com")
	default:
		return fault{}
	}
}

func belongsOnPods(value string) fault {
	const text = "has no effect on a ServiceAccount: put it on the pods"
	if value == "" {
		return soft(text)
	}
	return hard(text)
}

// target finds that a role to be assumed has none to be assumed from.
func target(role string) fault {
	if role == "" {
		return soft("goes with " + identity.RoleARNAnnotation + ", which is not there")
	}
	return fault{}
}

// stsAddresses are those of AWS's STS, which are taken for its audience.
var stsAddresses = regexp.MustCompile(`^(https?://sts|sts\.[a-z0-9-]+)(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?$`)

func audience(value string) fault {
	switch {
	case value == "":
		return empty()
	case strings.TrimSpace(value) != value:
		return hard("has spaces around it, want sts.amazonaws.com or the like")
	case stsAddresses.MatchString(value):
		return soft("is an address: AWS expects sts.amazonaws.com")
	case strings.ContainsAny(value, " \t\r\n"):
		return soft("has spaces in it: one audience is meant, such as sts.amazonaws.com")
	default:
		return fault{}
	}
}

func expiration(value string) fault {
	if value == "" {
		return empty()
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return hard("is no number of seconds, such as 3600")
	case seconds < token.MinExpirationSeconds || seconds > identity.MaxUsefulExpirationSeconds:
		return soft(fmt.Sprintf("is outside %d..%d seconds", token.MinExpirationSeconds, identity.MaxUsefulExpirationSeconds))
	default:
		return fault{}
	}
}

// externalIDs and maxExternalID are STS's rule, which is of at least 2 letters
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
var externalIDs = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)

const maxExternalID = 1224

func externalID(value, targetRole string) fault {
	switch {
	case value == "":
		return soft("is empty: none is sent")
	case len(value) > maxExternalID || !externalIDs.MatchString(value):
		return hard("is not 2 to 1224 letters, digits or _+=,.@:/-")
	case targetRole == "":
		return soft("goes with " + identity.TargetRoleARNAnnotation + ", which is not there")
	default:
		return fault{}
	}
}
