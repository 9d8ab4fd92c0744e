package webhook

import (
	"fmt"
	"unicode/utf8"
)

// What the API server advises for warnings, and what it does with longer ones:
// over 256 characters each, or 4096 in all for a request, they are cut
// (k8s.io/api/admission/v1, AdmissionResponse.Warnings;
// k8s.io/apiserver/pkg/endpoints/filters/warning.go).
const (
	maxWarnings       = 5
	maxWarningLetters = 120
)

// warningPrefix says whose warning it is: kubectl shows nothing else of it.
const warningPrefix = "pod-identity-webhook: "

// capWarnings makes warnings of messages, no more and no longer than is advised.
// The last one counts those that are left out.
func capWarnings(messages []string) []string {
	if len(messages) == 0 {
		return nil
	}
	shown := messages
	if len(messages) > maxWarnings {
		shown = messages[:maxWarnings-1]
	}
	warnings := make([]string, 0, maxWarnings)
	for _, message := range shown {
		warnings = append(warnings, cut(warningPrefix+message))
	}
	if left := len(messages) - len(shown); left > 0 {
		warnings = append(warnings, fmt.Sprintf("%sand %d more, which are in its log", warningPrefix, left))
	}
	return warnings
}

// cut ends a text that is too long with three dots, at a letter's end.
func cut(text string) string {
	if utf8.RuneCountInString(text) <= maxWarningLetters {
		return text
	}
	const dots = "..."
	return string([]rune(text)[:maxWarningLetters-len(dots)]) + dots
}
