package inject_test

import (
	"flag"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

func TestProperties_randomPods(t *testing.T) {
	check(t, func(t *rapid.T) {
		d, c := randomCase(t)
		checkProperties(t, d.pod(), c.Identity(), c.Settings.Inject())
	})
}

// randomCase returns a random ServiceAccount and settings, and a generator of pods for
// them.
func randomCase(t *rapid.T) (*podGenerator, *testcases.Case) {
	settings := randomSettings(t)
	account := corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Annotations: randomServiceAccount(t, settings.AnnotationPrefix)}}
	return &podGenerator{T: t, settings: settings}, &testcases.Case{ServiceAccount: account, Settings: settings}
}

// check runs a property with rapid, without files for failures: the output has the random
// values and the seed.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, property)
}
