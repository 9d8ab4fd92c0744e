package identity

import (
	"cmp"
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
		ExpirationSeconds: parsed(&r, TokenExpirationAnnotation, defaults.ExpirationSeconds, ParseExpiration),
		SessionName:       parsed(&r, RoleSessionNameAnnotation, defaults.SessionName, ParseSessionName),
		STSEndpoint:       parsed(&r, STSEndpointAnnotation, defaults.STSEndpoint, parseEndpoint),
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

// parsed returns the result of parse for an annotation, or fallback if it is missing.
func parsed[T any](r *annotationReader, annotation string, fallback T, parse func(annotation, value string, fallback T) (T, *AnnotationWarning)) T {
	value := r.value(annotation)
	if value == "" {
		return fallback
	}
	result, problem := parse(r.prefix+annotation, value, fallback)
	if problem != nil {
		r.problems = append(r.problems, *problem)
	}
	return result
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
	warning := &AnnotationWarning{Annotation: annotation, Value: value, Message: message, Fallback: "ignored"}
	if fallback != "" {
		warning.Fallback = fmt.Sprintf("%q is used", fallback)
	}
	return fallback, warning
}
