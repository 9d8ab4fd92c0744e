package webhook

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLimitWarnings(t *testing.T) {
	for count, want := range map[int]int{0: 0, 1: 1, 5: 5, 6: 5, 100: 5} {
		var messages []string
		for i := range count {
			messages = append(messages, fmt.Sprintf("number %d %s", i, strings.Repeat("ü", i*40)))
		}
		warnings := limitWarnings(messages)
		if len(warnings) != want {
			t.Errorf("%d messages: got %d warnings, want %d", count, len(warnings), want)
		}
		for _, warning := range warnings {
			if !strings.HasPrefix(warning, "pod-identity-webhook: ") || utf8.RuneCountInString(warning) > 120 || !utf8.ValidString(warning) {
				t.Errorf("%q", warning)
			}
		}
		if count > 3 && !strings.HasSuffix(warnings[3], "...") {
			t.Errorf("got %q, want dots at the end", warnings[3])
		}
		if count > 5 && !strings.HasSuffix(warnings[4], fmt.Sprintf("and %d more, see the webhook's log", count-4)) {
			t.Errorf("of %d: %q", count, warnings[4])
		}
	}
}
