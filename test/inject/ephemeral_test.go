package inject_test

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// loadEphemeral reads the cases of testdata with ephemeral containers.
func loadEphemeral(t testing.TB) []testcases.EphemeralCase {
	t.Helper()
	cases, err := testcases.LoadEphemeral("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// decideEphemeral returns a function with the webhook's decision about ephemeral
// containers that are added to the pod old, with a known identity.
func decideEphemeral(t tester, old []byte, id *identity.Identity, settings inject.Settings) func(*inject.Pod) inject.Result {
	t.Helper()
	before, err := decode(old)
	if err != nil {
		t.Fatalf("decode old pod: %v\n%s", err, old)
	}
	return func(changed *inject.Pod) inject.Result {
		return inject.PatchEphemeral(changed, before, id, settings)
	}
}

func ephemeralContainers(pod *corev1.Pod) []corev1.Container {
	containers := make([]corev1.Container, 0, len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return containers
}

// checkEphemeralProperties checks the properties of any decision about the ephemeral
// containers that changed has in addition to old.
func checkEphemeralProperties(t tester, old, changed []byte, id *identity.Identity, settings inject.Settings) {
	t.Helper()
	existing := ephemeralContainers(toPod(t, old))
	isNew := func(name string) bool {
		return !slices.ContainsFunc(existing, func(c corev1.Container) bool { return c.Name == name })
	}
	d := &decision{
		pod: changed, id: id, settings: settings, running: true,
		decide: decideEphemeral(t, old, id, settings),
		touched: func(pod *corev1.Pod) []corev1.Container {
			return slices.DeleteFunc(ephemeralContainers(pod), func(c corev1.Container) bool { return !isNew(c.Name) })
		},
		// No other part of a running pod can be changed.
		rest: func(pod []byte) any {
			document := parse(pod)
			containers, _ := field(field(document, "spec"), "ephemeralContainers").([]any)
			for _, c := range containers {
				if name, _ := field(c, "name").(string); isNew(name) {
					withoutContainerAdditions([]any{c})
				}
			}
			return document
		},
	}
	checkDecision(t, d)
	held := false
	for i := range d.before.Spec.Volumes {
		held = held || d.isHeldBy(&d.before.Spec.Volumes[i])
	}
	if id.IsSet() && d.result.Volume != "" && !held || d.result.ExpirationSeconds != 0 {
		t.Errorf("pod without the token: got volume %q and expiration %d s in the result, want none", d.result.Volume, d.result.ExpirationSeconds)
	}
	if d.result.Reason == inject.NoTokenVolume && d.result.Patch != nil {
		t.Errorf("pod without the token: got patch %s, want none", d.result.Patch)
	}
	if d.result.Reason == inject.NoTokenVolume && d.hasFirstVolume() {
		t.Errorf("pod with the token: got a result without it: %+v", d.before.Spec.Volumes)
	}
}

// hasFirstVolume reports whether the volume with the token's default name holds the
// token. Another name is used only if the names before it are taken.
func (d *decision) hasFirstVolume() bool {
	name := "aws-iam-token"
	if d.id.Method == identity.ContainerCredentials {
		name = d.settings.ContainerCredentials.VolumeName
	}
	i := slices.IndexFunc(d.before.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	return i >= 0 && d.isHeldBy(&d.before.Spec.Volumes[i])
}

func TestProperties_ephemeralTestCases(t *testing.T) {
	for _, c := range loadEphemeral(t) {
		t.Run(c.Name, func(t *testing.T) {
			checkEphemeralProperties(t, c.PodJSON, c.ChangedJSON, c.Identity(), c.Settings.Inject())
		})
	}
}

func TestProperties_randomEphemeralContainers(t *testing.T) {
	check(t, func(t *rapid.T) {
		d, c := randomCase(t)
		old, changed := d.ephemeral()
		checkEphemeralProperties(t, old, changed, c.Identity(), c.Settings.Inject())
	})
}

// ephemeral returns a random running pod, and the pod with more ephemeral containers.
func (d *podGenerator) ephemeral() (old, changed []byte) {
	document := d.document()
	spec := document["spec"].(map[string]any)
	draw := func(label string, names ...string) []any {
		return d.list(label, 2, func() any { return d.container(d.oneOf("name", names...)) })
	}
	existing := draw("existing ephemeral container", "debugger", "shell")
	spec["ephemeralContainers"] = existing
	old = d.encode(document)
	// A merge patch can put new containers before old ones.
	spec["ephemeralContainers"] = rapid.Permutation(append(existing, draw("new ephemeral container", "app", "log")...)).Draw(d.T, "order")
	return old, d.encode(document)
}

// TestPatchEphemeral_newContainerFirst applies a strategic merge patch as the API server
// does: it puts new list elements before the ones that are not in the patch.
func TestPatchEphemeral_newContainerFirst(t *testing.T) {
	for _, c := range loadEphemeral(t) {
		t.Run(c.Name, func(t *testing.T) {
			patch := toJSON(t, map[string]any{"spec": map[string]any{"ephemeralContainers": c.Added}})
			merged, err := strategicpatch.StrategicMergePatch(c.PodJSON, patch, corev1.Pod{})
			if err != nil {
				t.Fatal(err)
			}
			checkEphemeralProperties(t, c.PodJSON, merged, c.Identity(), c.Settings.Inject())
			appended, _ := patchBytes(t, c.ChangedJSON, decideEphemeral(t, c.PodJSON, c.Identity(), c.Settings.Inject()))
			got, _ := patchBytes(t, merged, decideEphemeral(t, c.PodJSON, c.Identity(), c.Settings.Inject()))
			if !reflect.DeepEqual(got.Containers, appended.Containers) {
				t.Errorf("got %+v, want %+v", got.Containers, appended.Containers)
			}
		})
	}
}

// TestPatchEphemeral_allTestCases adds a container without special settings to each
// injected pod.
func TestPatchEphemeral_allTestCases(t *testing.T) {
	const debugger = `{"name":"debugger","image":"` + image + `"}`
	for _, c := range loadTestCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			created, old := decideCase(t, &c)
			changed, err := apply(old, []byte(`[{"op":"add","path":"/spec/ephemeralContainers","value":[`+debugger+`]}]`))
			if err != nil {
				t.Fatal(err)
			}
			checkEphemeralProperties(t, old, changed, c.Identity(), c.Settings.Inject())
			result, _ := patchBytes(t, changed, decideEphemeral(t, old, c.Identity(), c.Settings.Inject()))
			switch {
			case created.Volume == "":
				// The webhook does not look up the identity of exempt pods.
				if created.Reason == inject.NoRole && result.Reason != inject.NoRole {
					t.Errorf("got reason %s for a pod without a role", result.Reason)
				}
			case result.Volume != created.Volume || len(result.Containers) != 1:
				t.Errorf("got %+v, want volume %q", result, created.Volume)
			case result.Containers[0].Reason != inject.Injected && result.Containers[0].Reason != inject.NotIncluded:
				t.Errorf("got reason %s for the debugger", result.Containers[0].Reason)
			}
		})
	}
}
