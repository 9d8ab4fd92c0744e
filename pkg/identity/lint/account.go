package lint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// problem is an error in a value. The zero value means that there is no error.
type problem struct {
	// text is the message. It follows the key of the annotation in a sentence.
	text    string
	invalid bool
}

func invalid(text string) problem    { return problem{text: text, invalid: true} }
func suspicious(text string) problem { return problem{text: text} }

// Rules are the settings of the webhook that determine which annotations are valid.
type Rules struct {
	// Prefix is the prefix of the annotations, such as "eks.amazonaws.com".
	Prefix string
	// Composes reports whether the webhook composes ARNs of bare role names.
	Composes bool
	// STSEndpoint is the URL of the STS for ServiceAccounts without the annotation. It is
	// empty for the STS of AWS.
	STSEndpoint string
}

// Account finds mistakes in the annotations of a ServiceAccount.
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
	if endpoint := annotations[prefix+"/"+identity.STSEndpointAnnotation]; identity.IsEndpoint(endpoint) {
		rules.STSEndpoint = endpoint
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

// empty returns the problem of an annotation with an empty value. It is only a warning: the
// webhook treats it like a missing annotation, and templates often render such values.
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
		return invalid("is not a URL such as https://sts.eu-west-1.amazonaws.com")
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

// target returns a problem if there is a target role but no role with which to assume it.
func target(role string) problem {
	if role == "" {
		return suspicious("requires " + identity.RoleARNAnnotation + ", which is missing")
	}
	return problem{}
}

// stsAddresses matches the host names and URLs of AWS's STS. Users confuse them with the audience
// of AWS.
var stsAddresses = regexp.MustCompile(`^(https?://sts|sts\.[a-z0-9-]+)(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?$`)

func audience(value string) problem {
	switch {
	case value == "":
		return empty()
	case strings.TrimSpace(value) != value:
		return invalid("has spaces around it, want a value such as sts.amazonaws.com")
	case stsAddresses.MatchString(value):
		return suspicious("is an address of STS: AWS expects sts.amazonaws.com")
	case strings.ContainsAny(value, " \t\r\n"):
		return suspicious("has spaces in it: set one audience, such as sts.amazonaws.com")
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
		return invalid("is not a number of seconds, such as 3600")
	case seconds < token.MinExpirationSeconds || seconds > identity.MaxUsefulExpirationSeconds:
		return suspicious(fmt.Sprintf("is outside %d..%d seconds", token.MinExpirationSeconds, identity.MaxUsefulExpirationSeconds))
	default:
		return problem{}
	}
}

// externalIDs and maxExternalID are the rules of STS. An external ID has at least 2 characters
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
var externalIDs = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)

const maxExternalID = 1224

func externalID(value, targetRole string) problem {
	switch {
	case value == "":
		return suspicious("is empty: no external ID is sent")
	case len(value) > maxExternalID || !externalIDs.MatchString(value):
		return invalid("is not 2 to 1224 letters, digits or _+=,.@:/-")
	case targetRole == "":
		return suspicious("requires " + identity.TargetRoleARNAnnotation + ", which is missing")
	default:
		return problem{}
	}
}
