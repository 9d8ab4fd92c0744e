package webhook

import (
	"fmt"
	"unicode/utf8"
)

// maxWarningLength is the documented limit of 120 characters (AdmissionResponse.Warnings
// in k8s.io/api/admission/v1). All webhooks for a request share 4096 characters. If their
// warnings have more, the API server cuts each to 256 and then drops the rest
// (k8s.io/apiserver/pkg/endpoints/filters/warning.go). Few and short warnings avoid that.
const (
	maxWarnings      = 5
	maxWarningLength = 120
)

// warningPrefix names the source of a warning, because kubectl shows only its text.
const warningPrefix = "pod-identity-webhook: "

// limitWarnings returns warnings with the messages, at most maxWarnings of at most
// maxWarningLength characters. If there are more messages, the last warning has the number
// of omitted ones.
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

// truncate cuts a text that is too long, between characters, and appends three dots.
func truncate(text string) string {
	if utf8.RuneCountInString(text) <= maxWarningLength {
		return text
	}
	const dots = "..."
	return string([]rune(text)[:maxWarningLength-len(dots)]) + dots
}
