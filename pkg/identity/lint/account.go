package lint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// problem is what is wrong with a value; the zero fault is none.
type problem struct {
	// text follows the annotation's key in a sentence.
	text    string
	invalid bool
}

func invalid(text string) problem    { return problem{text: text, invalid: true} }
func suspicious(text string) problem { return problem{text: text} }

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
	check := func(name string, find func(value string) problem) {
		key := prefix + "/" + name
		value, ok := annotations[key]
		if !ok {
			return
		}
		if found := find(value); found != (problem{}) {
			findings = append(findings, Finding{Annotation: key, Value: value, Message: key + " " + found.text, Invalid: found.invalid})
		}
	}
	if own := annotations[prefix+"/"+identity.STSEndpointAnnotation]; identity.IsEndpoint(own) {
		rules.STSEndpoint = own
	}
	check(identity.RoleARNAnnotation, rules.role)
	check(identity.TargetRoleARNAnnotation, func(value string) problem {
		if found := rules.role(value); found != (problem{}) {
			return found
		}
		return target(annotations[prefix+"/"+identity.RoleARNAnnotation])
	})
	check(identity.TargetExternalIDAnnotation, func(value string) problem {
		return externalID(value, annotations[prefix+"/"+identity.TargetRoleARNAnnotation])
	})
	check(identity.AudienceAnnotation, audience)
	check(identity.STSRegionalEndpointsAnnotation, boolean)
	check(identity.TokenExpirationAnnotation, expiration)
	check(identity.RoleSessionNameAnnotation, sessionName)
	check(identity.STSEndpointAnnotation, endpoint)
	check(identity.SkipContainersAnnotation, belongsOnPods)
	check(identity.IncludeContainersAnnotation, belongsOnPods)
	return append(findings, Misspelled(annotations, prefix)...)
}

// empty is the fault of an annotation without a value, which is as if it were
// not there: templates render such.
func empty() problem { return suspicious("is empty: the default is used") }

func boolean(value string) problem {
	if value == "" {
		return empty()
	}
	if _, err := strconv.ParseBool(value); err != nil {
		return invalid("is neither true nor false")
	}
	return problem{}
}

func sessionName(value string) problem {
	switch {
	case value == "":
		return empty()
	case !identity.IsSessionName(value):
		return invalid("is neither pod-name nor 2 to 64 letters, digits or _+=,.@-")
	default:
		return problem{}
	}
}

func endpoint(value string) problem {
	switch {
	case value == "":
		return empty()
	case !identity.IsEndpoint(value):
		return invalid("is no URL such as https://sts.eu-west-1.amazonaws.com")
	default:
		return problem{}
	}
}

func belongsOnPods(value string) problem {
	const text = "has no effect on a ServiceAccount: put it on the pods"
	if value == "" {
		return suspicious(text)
	}
	return invalid(text)
}

// target finds that a role to be assumed has none to be assumed from.
func target(role string) problem {
	if role == "" {
		return suspicious("goes with " + identity.RoleARNAnnotation + ", which is not there")
	}
	return problem{}
}

// stsAddresses are those of AWS's STS, which are taken for its audience.
var stsAddresses = regexp.MustCompile(`^(https?://sts|sts\.[a-z0-9-]+)(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?$`)

func audience(value string) problem {
	switch {
	case value == "":
		return empty()
	case strings.TrimSpace(value) != value:
		return invalid("has spaces around it, want sts.amazonaws.com or the like")
	case stsAddresses.MatchString(value):
		return suspicious("is an address: AWS expects sts.amazonaws.com")
	case strings.ContainsAny(value, " \t\r\n"):
		return suspicious("has spaces in it: one audience is meant, such as sts.amazonaws.com")
	default:
		return problem{}
	}
}

func expiration(value string) problem {
	if value == "" {
		return empty()
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return invalid("is no number of seconds, such as 3600")
	case seconds < token.MinExpirationSeconds || seconds > identity.MaxUsefulExpirationSeconds:
		return suspicious(fmt.Sprintf("is outside %d..%d seconds", token.MinExpirationSeconds, identity.MaxUsefulExpirationSeconds))
	default:
		return problem{}
	}
}

// externalIDs and maxExternalID are STS's rule, which is of at least 2 letters
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
var externalIDs = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)

const maxExternalID = 1224

func externalID(value, targetRole string) problem {
	switch {
	case value == "":
		return suspicious("is empty: none is sent")
	case len(value) > maxExternalID || !externalIDs.MatchString(value):
		return invalid("is not 2 to 1224 letters, digits or _+=,.@:/-")
	case targetRole == "":
		return suspicious("goes with " + identity.TargetRoleARNAnnotation + ", which is not there")
	default:
		return problem{}
	}
}
