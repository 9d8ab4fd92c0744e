// Package identity owns the question which AWS identity a ServiceAccount has
// and how its token is asked for. It is pure: it reads what others fetched.
// Package serviceaccount below it fetches.
package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// The annotations, without their prefix. TokenExpirationAnnotation is read on
// pods too, where it beats the ServiceAccount's.
const (
	RoleARNAnnotation              = "role-arn"
	AudienceAnnotation             = "audience"
	STSRegionalEndpointsAnnotation = "sts-regional-endpoints"
	TokenExpirationAnnotation      = "token-expiration"
)

// ErrServiceAccountNotFound says that a ServiceAccount does not exist, so that
// it has no identity for certain.
var ErrServiceAccountNotFound = errors.New("the ServiceAccount does not exist")

// Identity is what the pods of one ServiceAccount are given. It is never
// changed once made, so that requests can share it.
type Identity struct {
	// RoleARN is as the annotation has it, whether or not it can be an ARN.
	RoleARN string
	// Audience is never empty: an empty audience would make the kubelet ask for
	// a token for the API server itself, which the SDK would then send to STS.
	Audience string
	// RegionalSTS asks the SDK to use the STS endpoint of its region.
	RegionalSTS bool
	// ExpirationSeconds lies within token.MinExpirationSeconds and
	// token.MaxExpirationSeconds.
	ExpirationSeconds int64
	// Problems are the faults found in the annotations, for the user to see.
	Problems []Problem
}

// Defaults stand in for what a ServiceAccount does not say. Audience must not
// be empty and ExpirationSeconds must be within the bounds of package token.
type Defaults struct {
	// AnnotationPrefix is that of all annotations, "eks.amazonaws.com".
	AnnotationPrefix  string
	Audience          string
	RegionalSTS       bool
	ExpirationSeconds int64
}

// Problem is a fault in an annotation that does not keep the pod from getting
// an identity.
type Problem struct {
	// Annotation is the full key, Value what it holds.
	Annotation, Value string
	// Fault says what is wrong with Value, and Used what was done instead.
	Fault, Used string
}

// String says it in one sentence. A long value is cut: the API server cuts or
// drops long admission warnings (k8s.io/apiserver/pkg/endpoints/filters/warning.go).
func (p Problem) String() string {
	const longest = 60
	value := p.Value
	if len(value) > longest {
		value = value[:longest] + "..."
	}
	return fmt.Sprintf("%s %q %s: %s", p.Annotation, value, p.Fault, p.Used)
}

// roleARN is what IAM accepts as the ARN of a role, in any partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
var roleARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]+$`)

// FromAnnotations returns the identity that the annotations of a ServiceAccount
// grant, or nil if they name no role.
func FromAnnotations(annotations map[string]string, defaults Defaults) *Identity {
	prefix := defaults.AnnotationPrefix + "/"
	role := annotations[prefix+RoleARNAnnotation]
	if role == "" {
		return nil
	}
	identity := &Identity{
		RoleARN:           role,
		Audience:          defaults.Audience,
		RegionalSTS:       defaults.RegionalSTS,
		ExpirationSeconds: defaults.ExpirationSeconds,
	}
	if !roleARN.MatchString(role) {
		identity.Problems = append(identity.Problems, Problem{
			Annotation: prefix + RoleARNAnnotation, Value: role,
			Fault: "cannot be the ARN of an IAM role", Used: "injected as it is",
		})
	}
	if audience := annotations[prefix+AudienceAnnotation]; audience != "" {
		identity.Audience = audience
	}
	if value := annotations[prefix+STSRegionalEndpointsAnnotation]; value != "" {
		if regional, err := strconv.ParseBool(value); err == nil {
			identity.RegionalSTS = regional
		} else {
			identity.Problems = append(identity.Problems, Problem{
				Annotation: prefix + STSRegionalEndpointsAnnotation, Value: value,
				Fault: "is neither true nor false", Used: fmt.Sprintf("%t is used", defaults.RegionalSTS),
			})
		}
	}
	if value := annotations[prefix+TokenExpirationAnnotation]; value != "" {
		seconds, problem := ParseExpiration(prefix+TokenExpirationAnnotation, value, defaults.ExpirationSeconds)
		identity.ExpirationSeconds = seconds
		if problem != nil {
			identity.Problems = append(identity.Problems, *problem)
		}
	}
	return identity
}

// ParseExpiration reads the value of a token-expiration annotation, in seconds.
// What is not a number is replaced by fallback, what the API server would
// refuse is moved into its bounds; both are told as a problem, or nil.
func ParseExpiration(annotation, value string, fallback int64) (int64, *Problem) {
	requested, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fallback, &Problem{
			Annotation: annotation, Value: value,
			Fault: "is not a number of seconds", Used: fmt.Sprintf("%d is used", fallback),
		}
	}
	seconds := token.ClampExpiration(requested)
	if seconds == requested {
		return seconds, nil
	}
	return seconds, &Problem{
		Annotation: annotation, Value: value,
		Fault: fmt.Sprintf("is outside %d..%d seconds", token.MinExpirationSeconds, token.MaxExpirationSeconds),
		Used:  fmt.Sprintf("%d is used", seconds),
	}
}
