// Package identity owns the question which AWS identity a ServiceAccount has
// and how its token is asked for. It is pure: it reads what the packages below
// it fetch.
package identity

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// The annotations, without their prefix. RoleSessionNameAnnotation and
// TokenExpirationAnnotation are read on pods too, where they beat the
// ServiceAccount's.
const (
	RoleARNAnnotation              = "role-arn"
	AudienceAnnotation             = "audience"
	STSRegionalEndpointsAnnotation = "sts-regional-endpoints"
	TokenExpirationAnnotation      = "token-expiration"
	RoleSessionNameAnnotation      = "role-session-name"
	STSEndpointAnnotation          = "sts-endpoint"
	TargetRoleARNAnnotation        = "target-role-arn"
	TargetExternalIDAnnotation     = "target-external-id"

	// On pods only: containers to leave alone, and the only ones not to.
	SkipContainersAnnotation    = "skip-containers"
	IncludeContainersAnnotation = "include-containers"
)

// SessionNamePod is the role session name that stands for the pod's name.
const SessionNamePod = "pod-name"

// Method is how a pod turns its token into credentials. The values are those of
// the reference webhook's metrics.
type Method string

const (
	// WebIdentity exchanges the token through STS AssumeRoleWithWebIdentity.
	WebIdentity Method = "sts_web_identity"
	// ContainerCredentials exchanges it through an agent on the node (EKS Pod
	// Identity), which knows the role.
	ContainerCredentials Method = "container_credentials"
)

// ErrServiceAccountNotFound says that a ServiceAccount does not exist, so that
// it has no identity for certain.
var ErrServiceAccountNotFound = errors.New("the ServiceAccount does not exist")

// Identity is what the pods of one ServiceAccount are given. It is never
// changed once made, so that requests can share it.
type Identity struct {
	Method Method
	// RoleARN is as it was written, whether or not it can be an ARN. It is empty
	// for ContainerCredentials, and for a ServiceAccount without a role.
	RoleARN string
	// Audience is never empty: an empty audience would make the kubelet ask for
	// a token for the API server itself, which the SDK would then send to STS.
	Audience string
	// RegionalSTS asks the SDK to use the STS endpoint of its region.
	RegionalSTS bool
	// ExpirationSeconds lies within token.MinExpirationSeconds and
	// token.MaxExpirationSeconds.
	ExpirationSeconds int64
	// SessionName is a literal, SessionNamePod, or empty to leave it to the SDK.
	SessionName string
	// STSEndpoint is the URL of the STS to use, or empty for AWS's.
	STSEndpoint string
	// TargetRoleARN is a role to assume with the credentials of RoleARN, or
	// empty; TargetExternalID goes with it.
	TargetRoleARN, TargetExternalID string
	// Problems are the faults found in what was written, for the user to see.
	Problems []AnnotationWarning
	// FromCache reports that the identity is what a watch knows of the
	// ServiceAccount, and not what a read for this admission found.
	FromCache bool
}

// IsSet says whether the pods are given anything.
func (id *Identity) IsSet() bool { return id.RoleARN != "" || id.Method == ContainerCredentials }

// Defaults stand in for what a ServiceAccount does not say. Audience must not
// be empty and ExpirationSeconds must be within the bounds of package token.
type Defaults struct {
	// AnnotationPrefix is that of all annotations, "eks.amazonaws.com".
	AnnotationPrefix  string
	Audience          string
	RegionalSTS       bool
	ExpirationSeconds int64
	SessionName       string
	STSEndpoint       string
	// Account makes ARNs of bare role names; nil leaves them as they are.
	Account *Account
}

// AnnotationWarning is a fault in an annotation that does not keep the pod from getting
// an identity.
type AnnotationWarning struct {
	// Annotation is the full key, Value what it holds.
	Annotation, Value string
	// Message says what is wrong with Value, and Used what was done instead.
	Message, Fallback string
}

// String says it in one sentence. A long value is cut: the API server cuts or
// drops long admission warnings (k8s.io/apiserver/pkg/endpoints/filters/warning.go).
func (p AnnotationWarning) String() string {
	const longest = 60
	value := p.Value
	if len(value) > longest {
		value = value[:longest] + "..."
	}
	return fmt.Sprintf("%s %q %s: %s", p.Annotation, value, p.Message, p.Fallback)
}

// FromAnnotations returns the identity that the annotations of a ServiceAccount
// grant. It is not Granted if they name no role.
func FromAnnotations(annotations map[string]string, defaults Defaults) *Identity {
	r := annotationReader{annotations: annotations, prefix: defaults.AnnotationPrefix + "/"}
	id := &Identity{
		Method:            WebIdentity,
		RoleARN:           defaults.Account.roleARNFor(r.value(RoleARNAnnotation)),
		Audience:          cmp.Or(r.value(AudienceAnnotation), defaults.Audience),
		RegionalSTS:       r.bool(STSRegionalEndpointsAnnotation, defaults.RegionalSTS),
		ExpirationSeconds: r.expiration(TokenExpirationAnnotation, defaults.ExpirationSeconds),
		SessionName:       r.parsed(RoleSessionNameAnnotation, defaults.SessionName, ParseSessionName),
		STSEndpoint:       r.parsed(STSEndpointAnnotation, defaults.STSEndpoint, parseEndpoint),
		TargetRoleARN:     defaults.Account.roleARNFor(r.singleLine(TargetRoleARNAnnotation)),
		TargetExternalID:  r.singleLine(TargetExternalIDAnnotation),
	}
	if id.RoleARN != "" && !IsRole(id.RoleARN, id.STSEndpoint) {
		r.problem(RoleARNAnnotation, "cannot be the ARN of an IAM role", "injected as it is")
	}
	if id.TargetRoleARN != "" && strings.ContainsFunc(id.RoleARN, unicode.IsControl) {
		// A line break would begin a setting of its own in the configuration.
		r.problem(TargetRoleARNAnnotation, "cannot be assumed with a role that has a control character", "ignored")
		id.TargetRoleARN, id.TargetExternalID = "", ""
	}
	if id.TargetRoleARN != "" && !IsRole(id.TargetRoleARN, id.STSEndpoint) {
		r.problem(TargetRoleARNAnnotation, "cannot be the ARN of an IAM role", "injected as it is")
	}
	for _, annotation := range []string{SkipContainersAnnotation, IncludeContainersAnnotation} {
		if r.value(annotation) != "" {
			r.problem(annotation, "belongs on a pod", "ignored on a ServiceAccount")
		}
	}
	id.Problems = r.problems
	return id
}

// annotationReader reads annotations and gathers what is wrong with them.
type annotationReader struct {
	annotations map[string]string
	prefix      string
	problems    []AnnotationWarning
}

func (r *annotationReader) value(annotation string) string { return r.annotations[r.prefix+annotation] }

func (r *annotationReader) problem(annotation, fault, used string) {
	r.problems = append(r.problems, AnnotationWarning{
		Annotation: r.prefix + annotation, Value: r.value(annotation), Message: fault, Fallback: used,
	})
}

func (r *annotationReader) bool(annotation string, fallback bool) bool {
	value := r.value(annotation)
	if value == "" {
		return fallback
	}
	parsed, err := strconv.ParseBool(value)
	if err != nil {
		r.problem(annotation, "is neither true nor false", fmt.Sprintf("%t is used", fallback))
		return fallback
	}
	return parsed
}

func (r *annotationReader) expiration(annotation string, fallback int64) int64 {
	value := r.value(annotation)
	if value == "" {
		return fallback
	}
	seconds, problem := ParseExpiration(r.prefix+annotation, value, fallback)
	if problem != nil {
		r.problems = append(r.problems, *problem)
	}
	return seconds
}

// parsed returns what parse makes of an annotation, or fallback without one.
func (r *annotationReader) parsed(annotation, fallback string, parse func(annotation, value, fallback string) (string, *AnnotationWarning)) string {
	value := r.value(annotation)
	if value == "" {
		return fallback
	}
	parsed, problem := parse(r.prefix+annotation, value, fallback)
	if problem != nil {
		r.problems = append(r.problems, *problem)
	}
	return parsed
}

// singleLine returns a value that goes into a configuration file, where a line break
// would begin a setting of its own.
func (r *annotationReader) singleLine(annotation string) string {
	value := r.value(annotation)
	if strings.ContainsFunc(value, unicode.IsControl) {
		r.problem(annotation, "has a control character", "ignored")
		return ""
	}
	return value
}

// ParseExpiration reads the value of a token-expiration annotation, in seconds.
// What is not a number is replaced by fallback, what the API server would
// refuse is moved into its bounds, and a token that outlives a day is asked for
// as it is; each is told as a problem, or nil.
func ParseExpiration(annotation, value string, fallback int64) (int64, *AnnotationWarning) {
	requested, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fallback, &AnnotationWarning{
			Annotation: annotation, Value: value,
			Message: "is not a number of seconds", Fallback: fmt.Sprintf("%d is used", fallback),
		}
	}
	seconds := token.ClampExpiration(requested)
	if seconds == requested && seconds <= MaxUsefulExpirationSeconds {
		return seconds, nil
	}
	return seconds, &AnnotationWarning{
		Annotation: annotation, Value: value,
		Message:  fmt.Sprintf("is outside %d..%d seconds", token.MinExpirationSeconds, MaxUsefulExpirationSeconds),
		Fallback: fmt.Sprintf("%d is used", seconds),
	}
}

// MaxUsefulExpirationSeconds is a day: the kubelet renews a token that is older
// than that whatever it was asked for
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/).
const MaxUsefulExpirationSeconds int64 = 86400

// ParseSessionName reads the value of a role-session-name annotation. What STS
// would refuse is replaced by fallback and told as a problem.
func ParseSessionName(annotation, value, fallback string) (string, *AnnotationWarning) {
	return validated(annotation, value, fallback, IsSessionName, "is no session name for STS")
}

func parseEndpoint(annotation, value, fallback string) (string, *AnnotationWarning) {
	return validated(annotation, value, fallback, IsEndpoint, "is no URL of an endpoint")
}

func validated(annotation, value, fallback string, valid func(string) bool, fault string) (string, *AnnotationWarning) {
	if valid(value) {
		return value, nil
	}
	return fallback, &AnnotationWarning{Annotation: annotation, Value: value, Message: fault, Fallback: fmt.Sprintf("%q is used", fallback)}
}
