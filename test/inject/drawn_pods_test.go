package inject_test

import (
	"flag"
	"testing"

	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

func TestThePropertiesHoldForDrawnPods(t *testing.T) {
	check(t, func(t *rapid.T) {
		settings := drawSettings(t)
		id := identity.FromAnnotations(drawServiceAccount(t, settings.AnnotationPrefix), settings.Identity())
		d := drawer{T: t, settings: settings}
		checkProperties(t, d.pod(), id, settings.Inject())
	})
}

// check runs a property of rapid, and keeps it from leaving files: what it drew
// is printed, with the seed to draw it again.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, property)
}
