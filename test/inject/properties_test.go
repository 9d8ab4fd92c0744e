package inject_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// tester has the methods of *testing.T and *rapid.T that the checks need.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func TestProperties_testCases(t *testing.T) {
	for _, c := range loadTestCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			checkProperties(t, c.PodJSON, c.Identity(), c.Settings.Inject())
		})
	}
}

// checkProperties checks the properties of any decision about any valid pod that is being
// created.
func checkProperties(t tester, pod []byte, id *identity.Identity, settings inject.Settings) {
	t.Helper()
	checkDecision(t, &decision{
		pod: pod, id: id, settings: settings,
		decide: func(view *inject.Pod) inject.Result { return decide(view, id, settings) },
		touched: func(pod *corev1.Pod) []corev1.Container {
			return slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
		},
		rest: withoutAdditions,
	})
}

// checkDecision decides about a pod and checks all properties of the result.
func checkDecision(t tester, d *decision) {
	t.Helper()
	id := *d.id
	d.result, d.patched = patchBytes(t, d.pod, d.decide)
	// Concurrent requests share an identity.
	if !reflect.DeepEqual(&id, d.id) {
		t.Errorf("the decision changed the identity:\nbefore %+v\nafter  %+v", id, *d.id)
	}
	d.before, d.after = toPod(t, d.pod), toPod(t, d.patched)
	d.checkPurity(t)
	d.checkUnrelatedFieldsUnchanged(t)
	d.checkMetadata(t)
	d.checkVolume(t)
	d.checkContainers(t)
	d.checkStarts(t)
	d.checkIdempotent(t)
}

// decision is a decision about a pod, and its result.
type decision struct {
	pod, patched []byte
	// before and after are the decoded pods before and after the patch.
	before, after *corev1.Pod
	id            *identity.Identity
	settings      inject.Settings
	result        inject.Result

	decide func(view *inject.Pod) inject.Result
	// touched returns the containers that the decision covers, in the order of the
	// result. rest returns the parts of a pod that the patch must not change.
	touched func(pod *corev1.Pod) []corev1.Container
	rest    func(pod []byte) any
	// running is true for a running pod, in which only new ephemeral containers can be
	// changed.
	running bool
}

// checkPurity checks that a decision does not change the view, and that the same view leads
// to the same decision.
func (d *decision) checkPurity(t tester) {
	t.Helper()
	used, err := decode(d.pod)
	if err != nil {
		t.Fatalf("decode again: %v", err)
	}
	fresh, err := decode(d.pod)
	if err != nil {
		t.Fatalf("decode again: %v", err)
	}
	if again := d.decide(used); !reflect.DeepEqual(again, d.result) {
		t.Errorf("got two different decisions about the same pod:\nfirst  %+v\nsecond %+v", d.result, again)
	}
	if !reflect.DeepEqual(used, fresh) {
		t.Errorf("the decision changed the view:\nbefore %+v\nafter  %+v", fresh, used)
	}
}

// checkUnrelatedFieldsUnchanged checks that the patch removes, changes or moves nothing,
// and adds nothing outside of the permitted places.
func (d *decision) checkUnrelatedFieldsUnchanged(t tester) {
	t.Helper()
	if fault := missingFrom(d.pod, d.patched); fault != "" {
		t.Errorf("the patch removes or changes something: %s\n%s\n%s", fault, d.pod, d.result.Patch)
	}
	if before, after := d.rest(d.pod), d.rest(d.patched); !reflect.DeepEqual(before, after) {
		t.Errorf("the patch changes unrelated fields:\nbefore %v\nafter  %v", before, after)
	}
	if left := !d.id.IsSet() || d.result.Containers == nil && d.result.Volume == ""; left && d.result.Patch != nil {
		t.Errorf("got patch %s for a skipped pod", d.result.Patch)
	}
	if d.result.Reason.Description() == "" {
		t.Errorf("reason %q has no explanation", d.result.Reason)
	}
}

// withoutAdditions returns a pod without the three kinds of lists that a patch may extend,
// and without the label and the annotation that checkMetadata checks.
func withoutAdditions(pod []byte) any {
	document := parse(pod)
	metadata, _ := field(document, "metadata").(map[string]any)
	for list, key := range map[string]string{"labels": podIdentityLabel, "annotations": configAnnotation} {
		if entries, ok := metadata[list].(map[string]any); ok {
			delete(entries, key)
			if len(entries) == 0 {
				delete(metadata, list)
			}
		} else if metadata[list] == nil {
			delete(metadata, list)
		}
	}
	spec, _ := field(document, "spec").(map[string]any)
	delete(spec, "volumes")
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		withoutContainerAdditions(containers)
	}
	return document
}

func withoutContainerAdditions(containers []any) {
	for _, c := range containers {
		if c, ok := c.(map[string]any); ok {
			delete(c, "env")
			delete(c, "volumeMounts")
		}
	}
}

func field(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}

// checkMetadata checks that the pod has the label of its method and the configuration of
// its roles. Each is added only if requested, and only if the pod does not have it.
func (d *decision) checkMetadata(t tester) {
	t.Helper()
	given := (d.result.Volume != "" || d.result.Containers != nil) && !d.running
	label, config := "", ""
	if given && d.id.Method == identity.ContainerCredentials {
		label = "enabled"
	}
	if given && d.id.TargetRoleARN != "" {
		config = d.config(d.usualDir())
		// The pod may have a configuration for the fallback path, which all containers then use.
		if fallback := d.config(d.settings.FallbackMountPath); d.after.Annotations[configAnnotation] == fallback {
			config = fallback
		}
	}
	for _, of := range []struct {
		key, added    string
		before, after map[string]string
	}{
		{podIdentityLabel, label, d.before.Labels, d.after.Labels},
		{configAnnotation, config, d.before.Annotations, d.after.Annotations},
	} {
		want, brought := of.before[of.key]
		if !brought {
			want = of.added
		}
		got, there := of.after[of.key]
		if got != want || there != (brought || of.added != "") {
			t.Errorf("%s: got %q (present: %t), want %q", of.key, got, there, want)
		}
	}
	own, brought := d.before.Annotations[configAnnotation]
	reported := slices.ContainsFunc(d.result.Warnings, func(w inject.Warning) bool { return w.Reason == inject.ConfigKept })
	if kept := config != "" && brought && own != config; reported != kept {
		t.Errorf("got existing configuration kept: %t, warning: %t; want both equal", kept, reported)
	}
}

// checkVolume checks that the pod has the token in the volume of the result. A new volume
// must be the first.
func (d *decision) checkVolume(t tester) {
	t.Helper()
	if d.result.Volume == "" {
		return
	}
	before, after := d.before.Spec.Volumes, d.after.Spec.Volumes
	i := slices.IndexFunc(after, func(v corev1.Volume) bool { return v.Name == d.result.Volume })
	if i < 0 {
		t.Fatalf("got no volume %q: %+v", d.result.Volume, after)
	}
	switch len(after) - len(before) {
	case 0:
	case 1:
		// A new volume has a name that no other volume has.
		if i != 0 || slices.ContainsFunc(before, func(v corev1.Volume) bool { return v.Name == d.result.Volume }) {
			t.Errorf("got volume %q added at index %d of %+v", d.result.Volume, i, after)
		}
		want := token.Volume(d.result.Volume, d.id.Audience, d.expectedInjection("").file, d.result.ExpirationSeconds)
		if d.id.TargetRoleARN != "" {
			want.Projected.Sources = append(want.Projected.Sources, configSource())
		}
		if !reflect.DeepEqual(after[0], want) {
			t.Errorf("got volume %+v, want %+v", after[0], want)
		}
	default:
		t.Errorf("got %d volumes before and %d after", len(before), len(after))
	}
	if !d.isHeldBy(&after[i]) {
		t.Errorf("volume %q has no token for %q, or no configuration: %+v", d.result.Volume, d.id.Audience, after[i])
	}
	if adds := len(after) > len(before); adds != (d.result.ExpirationSeconds != 0) {
		t.Errorf("got volume added: %t, and expiration %d s in the result", adds, d.result.ExpirationSeconds)
	}
	if d.id.Audience == "" || d.result.ExpirationSeconds != 0 && d.result.ExpirationSeconds != token.ClampExpiration(d.result.ExpirationSeconds) {
		t.Errorf("got token for audience %q and %d s", d.id.Audience, d.result.ExpirationSeconds)
	}
}

// checkContainers checks that each container matches its result.
func (d *decision) checkContainers(t tester) {
	t.Helper()
	if d.result.Volume == "" && d.result.Containers == nil {
		return
	}
	before, after := d.touched(d.before), d.touched(d.after)
	if len(before) != len(after) || len(before) != len(d.result.Containers) {
		t.Fatalf("got %d containers before, %d after, and results %+v", len(before), len(after), d.result.Containers)
	}
	windows := isWindows(d.before)
	for i := range before {
		reported := d.result.Containers[i]
		if reported.Name != after[i].Name {
			t.Errorf("container %d is %q, got result of %q", i, after[i].Name, reported.Name)
		}
		if reported.Reason.Description() == "" {
			t.Errorf("reason %q has no explanation", reported.Reason)
		}
		if len(after[i].Env) < len(before[i].Env) || len(after[i].VolumeMounts) < len(before[i].VolumeMounts) {
			t.Fatalf("container %q lost variables or mounts:\nbefore %+v\nafter  %+v", reported.Name, before[i], after[i])
		}
		d.checkAdditions(t, &before[i], &after[i], reported)
		switch reported.Reason {
		case inject.Injected, inject.FallbackPath, inject.AlreadyInjected:
			d.checkIdentity(t, &after[i], windows)
			d.checkExtras(t, &before[i], &after[i])
			d.checkRegion(t, &before[i], &after[i])
		case inject.MountOnly:
			d.checkOwnIdentity(t, &before[i], reported)
			d.checkRegion(t, &before[i], &after[i])
		default:
			// Such containers have no guarantees.
		}
		d.checkMounts(t, &before[i], &after[i], windows)
		d.checkOwnVolume(t, &before[i], reported)
	}
}

// checkOwnVolume checks that the result names the user's volume from which a container
// reads the token, and that no other token is mounted.
func (d *decision) checkOwnVolume(t tester, before *corev1.Container, reported inject.ContainerResult) {
	t.Helper()
	volume := d.tokenVolumeOf(before, valueOf(before, d.expectedInjection("").fileVariable))
	if reported.OwnVolume != "" && reported.OwnVolume != volume || reported.Mounted && volume != "" {
		t.Errorf("container %q reads the token from volume %q, got result %+v", reported.Name, volume, reported)
	}
	if d.result.Volume == "" && volume == "" && reported.Reason != inject.SkipContainers && reported.Reason != inject.NotIncluded {
		t.Errorf("container %q has no token volume, and none is added: %+v", reported.Name, reported)
	}
}

func isWindows(pod *corev1.Pod) bool {
	selector := pod.Spec.NodeSelector
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || selector["kubernetes.io/os"] == "windows" || selector["beta.kubernetes.io/os"] == "windows"
}

// checkAdditions checks that exactly the additions of the result are at the end of a
// container's lists.
func (d *decision) checkAdditions(t tester, before, after *corev1.Container, reported inject.ContainerResult) {
	t.Helper()
	var names, ordered []string
	for _, variable := range after.Env[len(before.Env):] {
		names = append(names, variable.Name)
	}
	for _, name := range envOrder() {
		if slices.Contains(names, name) {
			ordered = append(ordered, name)
		}
	}
	if !slices.Equal(names, reported.Env) || !slices.Equal(names, ordered) {
		t.Errorf("container %q: got variables %q added and %q in the result, want order %q", reported.Name, names, reported.Env, envOrder())
	}
	added := after.VolumeMounts[len(before.VolumeMounts):]
	if len(added) > 1 || reported.Mounted != (len(added) == 1) {
		t.Errorf("container %q: got mounts %+v added and %t in the result", reported.Name, added, reported.Mounted)
	}
	for _, mount := range added {
		want := corev1.VolumeMount{Name: d.result.Volume, ReadOnly: true, MountPath: d.dirOf(after, isWindows(d.before))}
		if !reflect.DeepEqual(mount, want) {
			t.Errorf("container %q: got mount %+v added, want %+v", reported.Name, mount, want)
		}
	}
	if !reflect.DeepEqual(after.Env[:len(before.Env)], before.Env) && len(before.Env) > 0 ||
		!reflect.DeepEqual(after.VolumeMounts[:len(before.VolumeMounts)], before.VolumeMounts) && len(before.VolumeMounts) > 0 {
		t.Errorf("container %q: additions are not at the end:\nbefore %+v\nafter  %+v", reported.Name, before, after)
	}
	grown := len(names) > 0 || len(added) > 0
	leaveAlone := []inject.Reason{inject.SkipContainers, inject.EnvSetByUser, inject.TokenPathTaken, inject.AlreadyInjected}
	if grown && slices.Contains(leaveAlone, reported.Reason) {
		t.Errorf("container %q is skipped (%s), got %q and %+v added", reported.Name, reported.Reason, names, added)
	}
	if !grown && (reported.Reason == inject.Injected || reported.Reason == inject.FallbackPath) {
		t.Errorf("container %q: got result injected without additions", reported.Name)
	}
}

// checkIdentity checks that an injected container has the complete identity: its
// variables, and the token at the path that they name.
func (d *decision) checkIdentity(t tester, c *corev1.Container, windows bool) {
	t.Helper()
	means := d.expectedInjection(d.dirOf(c, windows))
	ownFile := d.tokenVolumeOf(c, valueOf(c, means.fileVariable)) != ""
	for name, want := range means.variables {
		if got := valueOf(c, name); got != want && (name != means.fileVariable || !ownFile) {
			t.Errorf("container %q: got %s=%q, want %q", c.Name, name, got, want)
		}
	}
	for _, variable := range means.overriding {
		if sets(c, variable) {
			t.Errorf("container %q: %s takes precedence over the identity: %+v", c.Name, variable, c.Env)
		}
	}
	if ownFile {
		return
	}
	found := 0
	volumes := d.after.Spec.Volumes
	for _, mount := range c.VolumeMounts {
		switch at, directory := place(mount.MountPath, windows), place(means.directory, windows); {
		case at == directory:
			found++
			i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
			if i < 0 || !d.isHeldBy(&volumes[i]) || mount.SubPath != "" || mount.SubPathExpr != "" {
				t.Errorf("container %q: got mount %+v at the token's path", c.Name, mount)
			}
		case windows && strings.HasPrefix(at, directory+"/"):
			// checkStarts covers the other volumes.
			t.Errorf("container %q: got mount %+v in the token's read-only volume", c.Name, mount)
		}
	}
	// checkMounts finds duplicate mounts, except those of the user.
	if found == 0 {
		t.Errorf("container %q: the token is not mounted: %+v", c.Name, c.VolumeMounts)
	}
}

// checkExtras checks that an injected container has the expected additional variables,
// except those that it sets itself.
func (d *decision) checkExtras(t tester, before, after *corev1.Container) {
	t.Helper()
	for name, want := range d.extras() {
		if !sets(before, name) && valueOf(after, name) != want {
			t.Errorf("container %q: got %s=%q, want %q", after.Name, name, valueOf(after, name), want)
		}
	}
}

// checkRegion checks that a container has the region and the kind of STS endpoint, unless
// it sets them itself.
func (d *decision) checkRegion(t tester, before, after *corev1.Container) {
	t.Helper()
	ownRegion := sets(before, "AWS_REGION") || sets(before, "AWS_DEFAULT_REGION")
	if want := d.settings.Region; want != "" && !ownRegion &&
		(valueOf(after, "AWS_REGION") != want || valueOf(after, "AWS_DEFAULT_REGION") != want) {
		t.Errorf("container %q: want region %s: %+v", after.Name, want, after.Env)
	}
	if ownSTS := sets(before, "AWS_STS_REGIONAL_ENDPOINTS"); !ownSTS && sets(after, "AWS_STS_REGIONAL_ENDPOINTS") != d.id.RegionalSTS {
		t.Errorf("container %q: want regional STS %t: %+v", after.Name, d.id.RegionalSTS, after.Env)
	}
}

// checkOwnIdentity checks that a container reported with an existing identity has one, and
// gets nothing of the injected identity.
func (d *decision) checkOwnIdentity(t tester, before *corev1.Container, reported inject.ContainerResult) {
	t.Helper()
	means := d.expectedInjection(d.dirOf(before, isWindows(d.before)))
	ours := slices.Sorted(maps.Keys(means.variables))
	own, same := false, true
	for _, name := range append(ours, means.overriding...) {
		own = own || sets(before, name)
	}
	for name, value := range means.variables {
		same = same && (valueOf(before, name) == value || name == means.fileVariable && d.tokenVolumeOf(before, valueOf(before, name)) != "")
	}
	for _, name := range means.overriding {
		same = same && !sets(before, name)
	}
	if !own || same {
		t.Errorf("container %q has no existing identity: %+v", reported.Name, before.Env)
	}
	for _, name := range append(slices.Sorted(maps.Keys(d.extras())), ours...) {
		if slices.Contains(reported.Env, name) {
			t.Errorf("container %q keeps its identity, got %s added", reported.Name, name)
		}
	}
}

func sets(c *corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == name })
}

// valueOf returns the value of a variable as a process sees it: the last one wins.
func valueOf(c *corev1.Container, name string) string {
	for _, variable := range slices.Backward(c.Env) {
		if variable.Name == name {
			if variable.ValueFrom != nil {
				return fromElsewhere
			}
			return variable.Value
		}
	}
	return ""
}

// checkMounts checks that no mount is added at a path that has a mount.
func (d *decision) checkMounts(t tester, before, after *corev1.Container, windows bool) {
	t.Helper()
	taken := make(map[string]bool)
	for _, mount := range before.VolumeMounts {
		taken[place(mount.MountPath, windows)] = true
	}
	for _, device := range before.VolumeDevices {
		taken[place(device.DevicePath, windows)] = true
	}
	for _, mount := range after.VolumeMounts[len(before.VolumeMounts):] {
		if taken[place(mount.MountPath, windows)] {
			t.Errorf("container %q: got a second mount at %s: %+v", after.Name, mount.MountPath, before.VolumeMounts)
		}
	}
}

// place returns the canonical form of a path in a container. The kubelet makes each path
// absolute (MakeAbsolutePath in k8s.io/kubernetes/pkg/volume/util).
func place(mountPath string, windows bool) string {
	if windows {
		mountPath = strings.ReplaceAll(mountPath, `\`, "/")
		mountPath = strings.TrimPrefix(strings.TrimPrefix(mountPath, "C:"), "c:")
	}
	return path.Clean("/" + mountPath)
}

// checkIdempotent checks that the webhook does not change the patched pod when it is called
// again, and reports the same for each container.
func (d *decision) checkIdempotent(t tester) {
	t.Helper()
	view, err := decode(d.patched)
	if err != nil {
		t.Fatalf("decode patched pod: %v\n%s", err, d.patched)
	}
	again := d.decide(view)
	if again.Patch != nil {
		t.Errorf("got second patch %s\nfirst patch %s", again.Patch, d.result.Patch)
	}
	for i, container := range again.Containers {
		want := d.result.Containers[i].Reason
		if want == inject.Injected || want == inject.FallbackPath {
			want = inject.AlreadyInjected
		}
		if container.Reason != want {
			t.Errorf("container %q: got %s in the second call, want %s", container.Name, container.Reason, want)
		}
	}
}

// toPod decodes a valid pod.
func toPod(t tester, document []byte) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := json.NewDecoder(bytes.NewReader(document)).Decode(&pod); err != nil {
		t.Fatalf("decode pod: %v\n%s", err, document)
	}
	return &pod
}
