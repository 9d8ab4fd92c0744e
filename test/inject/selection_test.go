package inject_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// TestContainerFilter_quoting generates lists of names, with spaces around them. It checks
// which containers are skipped, and that the user gets a warning for each name without a
// container.
func TestContainerFilter_quoting(t *testing.T) {
	settings := testcases.Defaults()
	id := identity.FromAnnotations(annotations(map[string]string{"role-arn": roleARN}), settings.Identity())
	containers := []string{"app", "log", "proxy"}
	check(t, func(t *rapid.T) {
		skip, skipText := randomNames(t, "skip")
		include, includeText := randomNames(t, "include")
		pod := toJSON(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: annotations(map[string]string{
				"skip-containers": skipText, "include-containers": includeText,
			})},
			Spec: corev1.PodSpec{
				ServiceAccountName: "app",
				Containers:         []corev1.Container{{Name: "app"}, {Name: "log"}},
				InitContainers:     []corev1.Container{{Name: "proxy"}},
			},
		})
		result, _ := decideBytes(t, pod, id, settings.Inject())
		for i, name := range containers {
			want := inject.Injected
			switch {
			case slices.Contains(skip, name):
				want = inject.SkipContainers
			case len(include) > 0 && !slices.Contains(include, name):
				want = inject.NotIncluded
			}
			if got := result.Containers[i]; got.Name != name || got.Reason != want {
				t.Errorf("skip %q, include %q: container %s: got %+v, want %s", skipText, includeText, name, got, want)
			}
		}
		var want []string
		for _, name := range append(skip, include...) {
			if !slices.Contains(containers, name) {
				want = append(want, fmt.Sprintf("names %q", name))
			}
		}
		if len(result.Warnings) != len(want) {
			t.Fatalf("skip %q, include %q: got warnings %+v, want %q", skipText, includeText, result.Warnings, want)
		}
		for i, warning := range result.Warnings {
			if warning.Reason != inject.UnknownContainer || !strings.Contains(warning.Message, want[i]) {
				t.Errorf("skip %q, include %q: got warning %+v, want %s", skipText, includeText, warning, want[i])
			}
		}
	})
}

// randomNames returns random names, and a random spelling of their list.
func randomNames(t *rapid.T, label string) (names []string, text string) {
	var written []string
	for range rapid.IntRange(0, 3).Draw(t, "number to "+label) {
		name := rapid.SampledFrom([]string{"app", "log", "proxy", "logs"}).Draw(t, label)
		space := rapid.SampledFrom([]string{"", " ", "\t"})
		names = append(names, name)
		written = append(written, space.Draw(t, "before")+name+space.Draw(t, "after"))
	}
	return names, strings.Join(written, ",")
}

// TestPatch_maxWarnings causes many warnings, with a list of containers or with containers.
func TestPatch_maxWarnings(t *testing.T) {
	settings := testcases.Defaults()
	id := identity.FromAnnotations(annotations(map[string]string{"role-arn": roleARN}), settings.Identity())
	own := corev1.Container{Env: []corev1.EnvVar{{Name: "AWS_ROLE_ARN", Value: "own"}}}
	for name, test := range map[string]struct {
		skip       string
		containers int
		// first is the reason of the first warning.
		first    inject.Reason
		warnings int
	}{
		"a list of many names":                  {strings.Repeat("b,", 5000), 1, inject.UnknownContainer, 100},
		"a list that is too long":               {strings.Repeat("b,", 10_000), 1, inject.MalformedAnnotation, 1},
		"many containers with the same mistake": {"", 5000, inject.MountOnly, 100},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: annotations(map[string]string{"skip-containers": test.skip})},
			Spec:       corev1.PodSpec{ServiceAccountName: "app"},
		}
		own := own
		for n := range test.containers {
			own.Name = fmt.Sprintf("app-%d", n)
			if test.skip != "" {
				own.Env = nil
			}
			pod.Spec.Containers = append(pod.Spec.Containers, own)
		}
		result, _ := decideBytes(t, toJSON(t, pod), id, settings.Inject())
		if len(result.Warnings) != test.warnings || result.Warnings[0].Reason != test.first || len(result.Containers) != test.containers {
			t.Errorf("%s: got %d warnings, the first %+v, and %d containers", name, len(result.Warnings), result.Warnings[:min(1, len(result.Warnings))], len(result.Containers))
		}
	}
}
