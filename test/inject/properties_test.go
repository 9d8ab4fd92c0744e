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

// tester is what *testing.T and *rapid.T have in common, as far as it is needed.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func TestProperties_testCases(t *testing.T) {
	for _, c := range loadCorpus(t) {
		t.Run(c.Name, func(t *testing.T) {
			checkProperties(t, c.PodJSON, c.Identity(), c.Settings.Inject())
		})
	}
}

// checkProperties says whatever must be true of any decision about any pod that
// can be decoded and is being created, and is not.
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

// checkDecision decides about a pod, and says whether all is well.
func checkDecision(t tester, d *decision) {
	t.Helper()
	id := *d.id
	d.result, d.patched = patchBytes(t, d.pod, d.decide)
	// An identity is shared by requests that run at the same time.
	if !reflect.DeepEqual(&id, d.id) {
		t.Errorf("the identity was changed:\nwas %+v\nis  %+v", id, *d.id)
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

// decision is what was decided about a pod, and what came of it.
type decision struct {
	pod, patched []byte
	// before and after are the same, decoded.
	before, after *corev1.Pod
	id            *identity.Identity
	settings      inject.Settings
	result        inject.Result

	decide func(view *inject.Pod) inject.Result
	// touched lists the containers that are decided about, in the order of a
	// result; rest is a pod less what may be added to it.
	touched func(pod *corev1.Pod) []corev1.Container
	rest    func(pod []byte) any
	// running says that the pod runs already, so that nothing can be added but
	// to its new ephemeral containers.
	running bool
}

// checkPurity says whether a view is changed by a decision, and whether the same
// view leads to the same decision.
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
		t.Errorf("the same pod is decided in two ways:\nfirst  %+v\nsecond %+v", d.result, again)
	}
	if !reflect.DeepEqual(used, fresh) {
		t.Errorf("the view was changed:\nwas %+v\nis  %+v", fresh, used)
	}
}

// checkUnrelatedFieldsUnchanged says whether the patch has taken, changed or moved anything, and
// whether it has added something where it must not.
func (d *decision) checkUnrelatedFieldsUnchanged(t tester) {
	t.Helper()
	if fault := missingFrom(d.pod, d.patched); fault != "" {
		t.Errorf("the patch does not only add: %s\n%s\n%s", fault, d.pod, d.result.Patch)
	}
	if before, after := d.rest(d.pod), d.rest(d.patched); !reflect.DeepEqual(before, after) {
		t.Errorf("the patch touches more than it may:\nbefore %v\nafter  %v", before, after)
	}
	if left := !d.id.IsSet() || d.result.Containers == nil && d.result.Volume == ""; left && d.result.Patch != nil {
		t.Errorf("a pod that is left alone has a patch: %s", d.result.Patch)
	}
	if d.result.Reason.Description() == "" {
		t.Errorf("nothing explains the reason %q", d.result.Reason)
	}
}

// withoutAdditions is a pod less the three kinds of lists that a patch may add
// to, and less the label and the annotation that checkMetadata looks at.
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

// checkMetadata says whether the pod has the label of its method and the
// configuration of its roles, each only if it is asked for, and unless the pod
// brings its own.
func (d *decision) checkMetadata(t tester) {
	t.Helper()
	given := (d.result.Volume != "" || d.result.Containers != nil) && !d.running
	label, config := "", ""
	if given && d.id.Method == identity.ContainerCredentials {
		label = "enabled"
	}
	if given && d.id.TargetRoleARN != "" {
		config = d.config(d.usualFolder())
		// The pod may have it for the fallback path, and each container has that then.
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
			t.Errorf("%s is %q (there: %t), want %q", of.key, got, there, want)
		}
	}
	own, brought := d.before.Annotations[configAnnotation]
	told := slices.ContainsFunc(d.result.Warnings, func(w inject.Warning) bool { return w.Reason == inject.ConfigKept })
	if kept := config != "" && brought && own != config; told != kept {
		t.Errorf("a configuration of the pod's own is kept: %t, and told: %t", kept, told)
	}
}

// checkVolume says whether the pod has the token that the result names, first
// of its volumes if it is new.
func (d *decision) checkVolume(t tester) {
	t.Helper()
	if d.result.Volume == "" {
		return
	}
	before, after := d.before.Spec.Volumes, d.after.Spec.Volumes
	i := slices.IndexFunc(after, func(v corev1.Volume) bool { return v.Name == d.result.Volume })
	if i < 0 {
		t.Fatalf("there is no volume %q: %+v", d.result.Volume, after)
	}
	switch len(after) - len(before) {
	case 0:
	case 1:
		// A volume that is added is one that nobody else has named.
		if i != 0 || slices.ContainsFunc(before, func(v corev1.Volume) bool { return v.Name == d.result.Volume }) {
			t.Errorf("volume %q is added at %d of %+v", d.result.Volume, i, after)
		}
		want := token.Volume(d.result.Volume, d.id.Audience, d.expectedInjection("").file, d.result.ExpirationSeconds)
		if d.id.TargetRoleARN != "" {
			want.Projected.Sources = append(want.Projected.Sources, configSource())
		}
		if !reflect.DeepEqual(after[0], want) {
			t.Errorf("the volume is %+v, want %+v", after[0], want)
		}
	default:
		t.Errorf("%d volumes have become %d", len(before), len(after))
	}
	if !d.isHeldBy(&after[i]) {
		t.Errorf("volume %q is no token for %q, or lacks its configuration: %+v", d.result.Volume, d.id.Audience, after[i])
	}
	if adds := len(after) > len(before); adds != (d.result.ExpirationSeconds != 0) {
		t.Errorf("a volume is added: %t, and the expiration is told as %d s", adds, d.result.ExpirationSeconds)
	}
	if d.id.Audience == "" || d.result.ExpirationSeconds != 0 && d.result.ExpirationSeconds != token.ClampExpiration(d.result.ExpirationSeconds) {
		t.Errorf("the token is for %q and %d s", d.id.Audience, d.result.ExpirationSeconds)
	}
}

// checkContainers says whether each container is what the result says it is.
func (d *decision) checkContainers(t tester) {
	t.Helper()
	if d.result.Volume == "" && d.result.Containers == nil {
		return
	}
	before, after := d.touched(d.before), d.touched(d.after)
	if len(before) != len(after) || len(before) != len(d.result.Containers) {
		t.Fatalf("%d containers have become %d and are told of as %+v", len(before), len(after), d.result.Containers)
	}
	windows := isWindows(d.before)
	for i := range before {
		told := d.result.Containers[i]
		if told.Name != after[i].Name {
			t.Errorf("container %d is %q and told of as %q", i, after[i].Name, told.Name)
		}
		if told.Reason.Description() == "" {
			t.Errorf("nothing explains the reason %q", told.Reason)
		}
		if len(after[i].Env) < len(before[i].Env) || len(after[i].VolumeMounts) < len(before[i].VolumeMounts) {
			t.Fatalf("container %q has lost variables or mounts:\nbefore %+v\nafter  %+v", told.Name, before[i], after[i])
		}
		d.checkAdditions(t, &before[i], &after[i], told)
		switch told.Reason {
		case inject.Injected, inject.FallbackPath, inject.AlreadyInjected:
			d.checkIdentity(t, &after[i], windows)
			d.checkExtras(t, &before[i], &after[i])
			d.checkRegion(t, &before[i], &after[i])
		case inject.MountOnly:
			d.checkOwnIdentity(t, &before[i], told)
			d.checkRegion(t, &before[i], &after[i])
		default:
			// Nothing is promised to it.
		}
		d.checkMounts(t, &before[i], &after[i], windows)
		d.checkOwnVolume(t, &before[i], told)
	}
}

// checkOwnVolume checks that the volume of the user's from which a container reads the
// token is reported, and that no other is mounted.
func (d *decision) checkOwnVolume(t tester, before *corev1.Container, told inject.ContainerResult) {
	t.Helper()
	volume := d.tokenVolumeOf(before, valueOf(before, d.expectedInjection("").fileVariable))
	if told.OwnVolume != "" && told.OwnVolume != volume || told.Mounted && volume != "" {
		t.Errorf("container %q: it reads the token from volume %q and is reported as %+v", told.Name, volume, told)
	}
	if d.result.Volume == "" && volume == "" && told.Reason != inject.SkipContainers && told.Reason != inject.NotIncluded {
		t.Errorf("container %q: no volume is added, and it has none: %+v", told.Name, told)
	}
}

func isWindows(pod *corev1.Pod) bool {
	selector := pod.Spec.NodeSelector
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || selector["kubernetes.io/os"] == "windows" || selector["beta.kubernetes.io/os"] == "windows"
}

// checkAdditions says whether a container's lists have grown at the end, by what
// is told and by nothing else.
func (d *decision) checkAdditions(t tester, before, after *corev1.Container, told inject.ContainerResult) {
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
	if !slices.Equal(names, told.Env) || !slices.Equal(names, ordered) {
		t.Errorf("container %q: %q are added and told as %q, want the order %q", told.Name, names, told.Env, envOrder())
	}
	added := after.VolumeMounts[len(before.VolumeMounts):]
	if len(added) > 1 || told.Mounted != (len(added) == 1) {
		t.Errorf("container %q: mounts %+v are added, told as %t", told.Name, added, told.Mounted)
	}
	for _, mount := range added {
		want := corev1.VolumeMount{Name: d.result.Volume, ReadOnly: true, MountPath: d.folderOf(after, isWindows(d.before))}
		if !reflect.DeepEqual(mount, want) {
			t.Errorf("container %q: mount %+v is added, want %+v", told.Name, mount, want)
		}
	}
	if !reflect.DeepEqual(after.Env[:len(before.Env)], before.Env) && len(before.Env) > 0 ||
		!reflect.DeepEqual(after.VolumeMounts[:len(before.VolumeMounts)], before.VolumeMounts) && len(before.VolumeMounts) > 0 {
		t.Errorf("container %q: additions are not at the end:\nbefore %+v\nafter  %+v", told.Name, before, after)
	}
	grown := len(names) > 0 || len(added) > 0
	leaveAlone := []inject.Reason{inject.SkipContainers, inject.EnvSetByUser, inject.TokenPathTaken, inject.AlreadyInjected}
	if grown && slices.Contains(leaveAlone, told.Reason) {
		t.Errorf("container %q is to be left alone (%s): %q and %+v are added", told.Name, told.Reason, names, added)
	}
	if !grown && (told.Reason == inject.Injected || told.Reason == inject.FallbackPath) {
		t.Errorf("container %q is told of as injected, and nothing is added", told.Name)
	}
}

// checkIdentity says whether a container that has the identity has all of it:
// the variables that make it, and the token where they say that it is.
func (d *decision) checkIdentity(t tester, c *corev1.Container, windows bool) {
	t.Helper()
	means := d.expectedInjection(d.folderOf(c, windows))
	ownFile := d.tokenVolumeOf(c, valueOf(c, means.fileVariable)) != ""
	for name, want := range means.variables {
		if got := valueOf(c, name); got != want && (name != means.fileVariable || !ownFile) {
			t.Errorf("container %q: %s is %q, want %q", c.Name, name, got, want)
		}
	}
	for _, rival := range means.rivals {
		if sets(c, rival) {
			t.Errorf("container %q: %s would beat the identity: %+v", c.Name, rival, c.Env)
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
				t.Errorf("container %q: at the token's path is %+v", c.Name, mount)
			}
		case windows && strings.HasPrefix(at, directory+"/"):
			// Elsewhere checkStarts looks.
			t.Errorf("container %q: in the token's volume, which is read-only, is %+v", c.Name, mount)
		}
	}
	// That there are no two, unless the user wrote two, is for checkMounts to say.
	if found == 0 {
		t.Errorf("container %q: the token is not mounted: %+v", c.Name, c.VolumeMounts)
	}
}

// checkExtras says whether a container that has the identity has what goes with
// it, each as it should be unless the container sets it itself.
func (d *decision) checkExtras(t tester, before, after *corev1.Container) {
	t.Helper()
	for name, want := range d.extras() {
		if !sets(before, name) && valueOf(after, name) != want {
			t.Errorf("container %q: %s is %q, want %q", after.Name, name, valueOf(after, name), want)
		}
	}
}

// checkRegion says whether a container has the region and the kind of STS
// endpoint that are asked for, each unless it sets it itself.
func (d *decision) checkRegion(t tester, before, after *corev1.Container) {
	t.Helper()
	ownRegion := sets(before, "AWS_REGION") || sets(before, "AWS_DEFAULT_REGION")
	if want := d.settings.Region; want != "" && !ownRegion &&
		(valueOf(after, "AWS_REGION") != want || valueOf(after, "AWS_DEFAULT_REGION") != want) {
		t.Errorf("container %q: the region is not %s: %+v", after.Name, want, after.Env)
	}
	if ownSTS := sets(before, "AWS_STS_REGIONAL_ENDPOINTS"); !ownSTS && sets(after, "AWS_STS_REGIONAL_ENDPOINTS") != d.id.RegionalSTS {
		t.Errorf("container %q: STS is not regional (want %t): %+v", after.Name, d.id.RegionalSTS, after.Env)
	}
}

// checkOwnIdentity says whether a container that is said to have an identity of
// its own has one, and is given nothing that belongs to ours.
func (d *decision) checkOwnIdentity(t tester, before *corev1.Container, told inject.ContainerResult) {
	t.Helper()
	means := d.expectedInjection(d.folderOf(before, isWindows(d.before)))
	ours := slices.Sorted(maps.Keys(means.variables))
	own, same := false, true
	for _, name := range append(ours, means.rivals...) {
		own = own || sets(before, name)
	}
	for name, value := range means.variables {
		same = same && (valueOf(before, name) == value || name == means.fileVariable && d.tokenVolumeOf(before, valueOf(before, name)) != "")
	}
	for _, name := range means.rivals {
		same = same && !sets(before, name)
	}
	if !own || same {
		t.Errorf("container %q has no identity of its own: %+v", told.Name, before.Env)
	}
	for _, name := range append(slices.Sorted(maps.Keys(d.extras())), ours...) {
		if slices.Contains(told.Env, name) {
			t.Errorf("container %q keeps its identity and is given %s", told.Name, name)
		}
	}
}

func sets(c *corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == name })
}

// valueOf returns what a process sees of a variable: the last one counts.
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

// checkMounts says whether a mount has come to a place where there is one.
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
			t.Errorf("container %q: there is something at %s already: %+v", after.Name, mount.MountPath, before.VolumeMounts)
		}
	}
}

// place is the one spelling of a path in a container. The kubelet makes each
// path absolute (MakeAbsolutePath in k8s.io/kubernetes/pkg/volume/util).
func place(mountPath string, windows bool) string {
	if windows {
		mountPath = strings.ReplaceAll(mountPath, `\`, "/")
		mountPath = strings.TrimPrefix(strings.TrimPrefix(mountPath, "C:"), "c:")
	}
	return path.Clean("/" + mountPath)
}

// checkIdempotent says whether the webhook, asked again about the pod that it
// has patched, leaves it as it is and says the same of each container.
func (d *decision) checkIdempotent(t tester) {
	t.Helper()
	view, err := decode(d.patched)
	if err != nil {
		t.Fatalf("the patched pod cannot be decoded: %v\n%s", err, d.patched)
	}
	again := d.decide(view)
	if again.Patch != nil {
		t.Errorf("a second time the patch is %s\nthe first was %s", again.Patch, d.result.Patch)
	}
	for i, container := range again.Containers {
		want := d.result.Containers[i].Reason
		if want == inject.Injected || want == inject.FallbackPath {
			want = inject.AlreadyInjected
		}
		if container.Reason != want {
			t.Errorf("container %q: a second time it is %s, want %s", container.Name, container.Reason, want)
		}
	}
}

// toPod decodes a pod that is known to be one.
func toPod(t tester, document []byte) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := json.NewDecoder(bytes.NewReader(document)).Decode(&pod); err != nil {
		t.Fatalf("decode pod: %v\n%s", err, document)
	}
	return &pod
}
