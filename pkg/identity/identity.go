// Package identity defines the AWS identity of a ServiceAccount, and derives it from
// annotations or from a mapping. It has no I/O: the packages below it fetch the data.
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
// TokenExpirationAnnotation also apply to pods. There they take precedence over those of the
// ServiceAccount.
const (
	RoleARNAnnotation              = "role-arn"
	AudienceAnnotation             = "audience"
	STSRegionalEndpointsAnnotation = "sts-regional-endpoints"
	TokenExpirationAnnotation      = "token-expiration"
	RoleSessionNameAnnotation      = "role-session-name"
	STSEndpointAnnotation          = "sts-endpoint"
	TargetRoleARNAnnotation        = "target-role-arn"
	TargetExternalIDAnnotation     = "target-external-id"

	// These apply only to pods. The first lists the containers to skip. The second lists the
	// only containers to inject.
	SkipContainersAnnotation    = "skip-containers"
	IncludeContainersAnnotation = "include-containers"
)

// SessionNamePod is the role session name that is replaced by the name of the pod.
const SessionNamePod = "pod-name"

// Method is how a pod exchanges its token for credentials. The values are those in the metrics
// of AWS's webhook.
type Method string

const (
	// WebIdentity exchanges the token with AssumeRoleWithWebIdentity of STS.
	WebIdentity Method = "sts_web_identity"
	// ContainerCredentials exchanges the token with an agent on the node (EKS Pod
	// Identity), which determines the role.
	ContainerCredentials Method = "container_credentials"
)

// ErrServiceAccountNotFound is the error for a ServiceAccount that does not exist, and so has
// no identity.
var ErrServiceAccountNotFound = errors.New("the ServiceAccount does not exist")

// Identity is the identity that the webhook injects into the pods of a ServiceAccount. It is
// immutable, so that requests can share it.
type Identity struct {
	Method Method
	// RoleARN is the value in the source, even if it is not a valid ARN. It is empty for
	// ContainerCredentials, and for a ServiceAccount without a role.
	RoleARN string
	// Audience is never empty. With an empty audience, the kubelet would request a token for
	// the API server. The SDK would then send that token to STS.
	Audience string
	// RegionalSTS makes the SDK use the STS endpoint of its region.
	RegionalSTS bool
	// ExpirationSeconds is from token.MinExpirationSeconds to token.MaxExpirationSeconds.
	ExpirationSeconds int64
	// SessionName is a session name or SessionNamePod. If it is empty, the SDK chooses one.
	SessionName string
	// STSEndpoint is the URL of the STS, or empty for the STS of AWS.
	STSEndpoint string
	// TargetRoleARN, if not empty, is a role that is assumed with the credentials of RoleARN.
	// TargetExternalID is the external ID for that call.
	TargetRoleARN, TargetExternalID string
	// Problems are the warnings for the user about invalid values in the source.
	Problems []AnnotationWarning
	// FromCache reports whether the identity is from the cache of a watch, and not from a
	// read for this admission request.
	FromCache bool
}

// IsSet reports whether there is an identity to inject.
func (id *Identity) IsSet() bool { return id.RoleARN != "" || id.Method == ContainerCredentials }

// Defaults are the values for settings that the source does not specify. Audience must not be
// empty. ExpirationSeconds must be within the limits of package token.
type Defaults struct {
	// AnnotationPrefix is the prefix of all annotations, such as "eks.amazonaws.com".
	AnnotationPrefix  string
	Audience          string
	RegionalSTS       bool
	ExpirationSeconds int64
	SessionName       string
	STSEndpoint       string
	// Account is used to compose ARNs of bare role names. If it is nil, they stay unchanged.
	Account *Account
}

// AnnotationWarning is a warning about an invalid annotation. The pod can still get an
// identity.
type AnnotationWarning struct {
	// Annotation is the full key, and Value is its value.
	Annotation, Value string
	// Message is the error of Value, and Fallback is what the webhook uses or does instead.
	Message, Fallback string
}

// String returns the warning as one sentence. It truncates a long value, because the API server
// truncates or drops long admission warnings
// (k8s.io/apiserver/pkg/endpoints/filters/warning.go).
func (p AnnotationWarning) String() string {
	const longest = 60
	value := p.Value
	if len(value) > longest {
		value = value[:longest] + "..."
	}
	return fmt.Sprintf("%s %q %s: %s", p.Annotation, value, p.Message, p.Fallback)
}

// FromAnnotations returns the identity in the annotations of a ServiceAccount. If they have no
// role, IsSet returns false for it.
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
		r.problem(RoleARNAnnotation, "is not a valid ARN of an IAM role", "injected unchanged")
	}
	if id.TargetRoleARN != "" && strings.ContainsFunc(id.RoleARN, unicode.IsControl) {
		// A line break in the configuration file would start another setting.
		r.problem(TargetRoleARNAnnotation, "requires a role-arn without control characters", "ignored")
		id.TargetRoleARN, id.TargetExternalID = "", ""
	}
	if id.TargetRoleARN != "" && !IsRole(id.TargetRoleARN, id.STSEndpoint) {
		r.problem(TargetRoleARNAnnotation, "is not a valid ARN of an IAM role", "injected unchanged")
	}
	for _, annotation := range []string{SkipContainersAnnotation, IncludeContainersAnnotation} {
		if r.value(annotation) != "" {
			r.problem(annotation, "belongs on a pod", "ignored on a ServiceAccount")
		}
	}
	id.Problems = r.problems
	return id
}

// annotationReader reads annotations and collects warnings about them.
type annotationReader struct {
	annotations map[string]string
	prefix      string
	problems    []AnnotationWarning
}

// value returns the value of an annotation, or "".
func (r *annotationReader) value(annotation string) string { return r.annotations[r.prefix+annotation] }

// problem adds a warning.
func (r *annotationReader) problem(annotation, message, fallback string) {
	r.problems = append(r.problems, AnnotationWarning{
		Annotation: r.prefix + annotation, Value: r.value(annotation), Message: message, Fallback: fallback,
	})
}

// bool returns the value of a boolean annotation. It returns fallback if the annotation is
// missing, empty or invalid.
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

// expiration returns the value of a token-expiration annotation, or fallback if it is missing.
// See ParseExpiration.
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

// parsed returns the result of parse for an annotation, or fallback if it is missing.
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

// singleLine returns a value for a configuration file. It returns "" if the value contains a
// control character, because a line break in the file would start another setting.
func (r *annotationReader) singleLine(annotation string) string {
	value := r.value(annotation)
	if strings.ContainsFunc(value, unicode.IsControl) {
		r.problem(annotation, "has a control character", "ignored")
		return ""
	}
	return value
}

// ParseExpiration parses the value of a token-expiration annotation, in seconds.
//
//   - If the value is not a number, it returns fallback.
//   - If the API server would reject the number, it returns the nearest accepted number.
//   - If the number is larger than MaxUsefulExpirationSeconds, it returns the number.
//
// In these cases it also returns a warning, otherwise nil.
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

// MaxUsefulExpirationSeconds is one day. The kubelet renews a token that is older than one day,
// independent of its expiration
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/).
const MaxUsefulExpirationSeconds int64 = 86400

// ParseSessionName returns value if it is a valid value of a role-session-name annotation.
// Otherwise it returns fallback and a warning.
func ParseSessionName(annotation, value, fallback string) (string, *AnnotationWarning) {
	return validated(annotation, value, fallback, IsSessionName, "is not a valid session name for STS")
}

// parseEndpoint returns value if it is a valid value of an sts-endpoint annotation. Otherwise it
// returns fallback and a warning.
func parseEndpoint(annotation, value, fallback string) (string, *AnnotationWarning) {
	return validated(annotation, value, fallback, IsEndpoint, "is not a valid endpoint URL")
}

// validated returns value if it is valid. Otherwise it returns fallback and a warning.
func validated(annotation, value, fallback string, valid func(string) bool, message string) (string, *AnnotationWarning) {
	if valid(value) {
		return value, nil
	}
	return fallback, &AnnotationWarning{Annotation: annotation, Value: value, Message: message, Fallback: fmt.Sprintf("%q is used", fallback)}
}
