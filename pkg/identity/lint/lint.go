// Package lint owns the question whether annotations say what their writer
// probably meant. It is pure, and decides nothing about pods.
package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Finding is something in an annotation that is probably a mistake.
type Finding struct {
	// Annotation is the full key, Value what it holds.
	Annotation, Value string
	// Message says what is wrong, and shows what would be right. It names the
	// key, and fits into an admission warning unless the key is very long.
	Message string
	// SuggestedKey is the annotation that was probably meant, for a near miss.
	SuggestedKey string
	// Invalid says that it cannot be right; others are only warned about.
	Invalid bool
}

// String says it together with the value at fault.
func (f Finding) String() string {
	if f.Value == "" || f.SuggestedKey != "" {
		return f.Message
	}
	return f.Message + " (it is " + truncateQuoted(f.Value) + ")"
}

// truncateQuoted returns a text for a message, cut at a letter's end if it is long.
func truncateQuoted(text string) string {
	const longest = 50
	if len(text) <= longest {
		return strconv.Quote(text)
	}
	end := longest
	for end > longest-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strconv.Quote(text[:end] + "...")
}

// onlyOnServiceAccounts says whether an annotation of ours, named without its
// prefix, has no effect on a pod.
func onlyOnServiceAccounts(name string) bool {
	switch name {
	case identity.RoleARNAnnotation, identity.AudienceAnnotation, identity.STSRegionalEndpointsAnnotation,
		identity.STSEndpointAnnotation, identity.TargetRoleARNAnnotation, identity.TargetExternalIDAnnotation:
		return true
	default:
		return false
	}
}

// Pod finds annotations of a pod that belong on its ServiceAccount, and near
// misses. Like Misspelt it costs a pod without them no memory.
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
