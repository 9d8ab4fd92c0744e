package webhook

import (
	"fmt"
	"unicode/utf8"
)

// maxWarningLength is what the API documents: 120 characters
// (k8s.io/api/admission/v1, AdmissionResponse.Warnings). Once the warnings of a
// request, of all webhooks, come to 4096 characters, the API server cuts each to
// 256, and then drops what comes next
// (k8s.io/apiserver/pkg/endpoints/filters/warning.go); few and short ones leave
// room for others.
const (
	maxWarnings      = 5
	maxWarningLength = 120
)

// warningPrefix says whose warning it is: kubectl shows nothing else of it.
const warningPrefix = "pod-identity-webhook: "

// limitWarnings makes warnings of messages, no more and no longer than is advised.
// The last one counts those that are left out.
func limitWarnings(messages []string) []string {
	if len(messages) == 0 {
		return nil
	}
	shown := messages
	if len(messages) > maxWarnings {
		shown = messages[:maxWarnings-1]
	}
	warnings := make([]string, 0, maxWarnings)
	for _, message := range shown {
		warnings = append(warnings, truncate(warningPrefix+message))
	}
	if left := len(messages) - len(shown); left > 0 {
		warnings = append(warnings, fmt.Sprintf("%sand %d more, see the webhook's log", warningPrefix, left))
	}
	return warnings
}

// truncate ends a text that is too long with three dots, at a letter's end.
func truncate(text string) string {
	if utf8.RuneCountInString(text) <= maxWarningLength {
		return text
	}
	const dots = "..."
	return string([]rune(text)[:maxWarningLength-len(dots)]) + dots
}
