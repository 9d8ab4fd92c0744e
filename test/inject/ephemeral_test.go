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

// loadEphemeral reads the cases of ephemeral containers of testdata.
func loadEphemeral(t testing.TB) []testcases.EphemeralCase {
	t.Helper()
	cases, err := testcases.LoadEphemeral("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// decideEphemeral does what the webhook does with ephemeral containers that are
// added to the pod old, once it knows the ServiceAccount.
func decideEphemeral(t tester, old []byte, id *identity.Identity, settings inject.Settings) func(*inject.Pod) inject.Result {
	t.Helper()
	before, err := decode(old)
	if err != nil {
		t.Fatalf("the pod before cannot be decoded: %v\n%s", err, old)
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

// checkEphemeralProperties says whatever must be true of any decision about
// ephemeral containers with which the pod old has become the pod changed.
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
		// All else of a running pod is out of reach.
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
		t.Errorf("a pod without the token is said to have it in volume %q for %d s", d.result.Volume, d.result.ExpirationSeconds)
	}
	if d.result.Reason == inject.NoTokenVolume && d.result.Patch != nil {
		t.Errorf("a pod without the token has a patch: %s", d.result.Patch)
	}
	if d.result.Reason == inject.NoTokenVolume && d.hasFirstVolume() {
		t.Errorf("a pod with the token is said to lack it: %+v", d.before.Spec.Volumes)
	}
}

// hasFirstVolume says whether the volume that bears the very name of the token's
// holds it. Other names count only as far as those before them are taken.
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

// ephemeral draws a pod that runs, and what it is with more ephemeral containers.
func (d *podGenerator) ephemeral() (old, changed []byte) {
	document := d.document()
	spec := document["spec"].(map[string]any)
	draw := func(label string, names ...string) []any {
		return d.list(label, 2, func() any { return d.container(d.oneOf("name", names...)) })
	}
	existing := draw("existing ephemeral container", "debugger", "shell")
	spec["ephemeralContainers"] = existing
	old = d.encode(document)
	// A patch may be merged so that new ones come before old ones.
	spec["ephemeralContainers"] = rapid.Permutation(append(existing, draw("new ephemeral container", "app", "log")...)).Draw(d.T, "order")
	return old, d.encode(document)
}

// TestPatchEphemeral_newContainerFirst merges a patch as the API server does,
// which puts new elements of a list before those that the patch does not name.
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

// TestPatchEphemeral_allTestCases adds a container that wants
// nothing special to each pod as the webhook has made it.
func TestPatchEphemeral_allTestCases(t *testing.T) {
	const debugger = `{"name":"debugger","image":"` + image + `"}`
	for _, c := range loadCorpus(t) {
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
				// The webhook does not ask about pods that are exempt.
				if created.Reason == inject.NoRole && result.Reason != inject.NoRole {
					t.Errorf("the pod is %s without a role", result.Reason)
				}
			case result.Volume != created.Volume || len(result.Containers) != 1:
				t.Errorf("got %+v, want volume %q", result, created.Volume)
			case result.Containers[0].Reason != inject.Injected && result.Containers[0].Reason != inject.NotIncluded:
				t.Errorf("the debugger is %s", result.Containers[0].Reason)
			}
		})
	}
}
