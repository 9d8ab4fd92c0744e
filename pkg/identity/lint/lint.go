// Package lint finds mistakes in annotations of ServiceAccounts and pods. It has no I/O, and it
// does not decide whether a pod is injected or admitted.
package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Finding is a probable mistake in an annotation.
type Finding struct {
	// Annotation is the full key, and Value is its value.
	Annotation, Value string
	// Message describes the mistake and the expected value. It contains the key. It fits into
	// an admission warning unless the key is very long.
	Message string
	// SuggestedKey is the annotation that was probably intended, if the key is misspelled.
	SuggestedKey string
	// Invalid reports whether the value is certainly invalid. Other findings are only
	// warnings.
	Invalid bool
}

// String returns the message with the value.
func (f Finding) String() string {
	if f.Value == "" || f.SuggestedKey != "" {
		return f.Message
	}
	return f.Message + " (got " + truncateQuoted(f.Value) + ")"
}

// truncateQuoted returns text in quotes for a message. It truncates a long text at the end of a
// character.
func truncateQuoted(text string) string {
	const limit = 50
	if len(text) <= limit {
		return strconv.Quote(text)
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strconv.Quote(text[:end] + "...")
}

// onlyOnServiceAccounts reports whether an annotation has no effect on a pod. name is without the
// prefix.
func onlyOnServiceAccounts(name string) bool {
	switch name {
	case identity.RoleARNAnnotation, identity.AudienceAnnotation, identity.STSRegionalEndpointsAnnotation,
		identity.STSEndpointAnnotation, identity.TargetRoleARNAnnotation, identity.TargetExternalIDAnnotation:
		return true
	default:
		return false
	}
}

// Pod finds annotations of a pod that belong on its ServiceAccount, and misspelled annotations.
// Like Misspelled, it allocates no memory if there are none.
func Pod(annotations map[string]string, prefix, serviceAccount string) []Finding {
	var findings []Finding
	for key, value := range annotations {
		domain, name, _ := strings.Cut(key, "/")
		if domain != prefix || !onlyOnServiceAccounts(name) {
			continue
		}
		findings = append(findings, Finding{
			Annotation: key, Value: value,
			Message: strings.TrimSpace(fmt.Sprintf("%s has no effect on a pod: put it on its ServiceAccount %s", key, serviceAccount)),
		})
	}
	slices.SortFunc(findings, byAnnotation)
	return append(findings, Misspelled(annotations, prefix)...)
}

func byAnnotation(a, b Finding) int { return strings.Compare(a.Annotation, b.Annotation) }
