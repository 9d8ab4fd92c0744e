package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

var update = flag.Bool("update", false, "write the table of docs/mounts.md instead of comparing with it")

// tokenDir is the usual path of the token.
const tokenDir = "/var/run/secrets/eks.amazonaws.com/serviceaccount"

// probeImages are the images of the probe. /var/run is a symbolic link to /run, as in
// most images, or a directory, or absent.
var probeImages = []string{"run-link", "run-directory", "no-var"}

// userVolume is a kind of volume that a user can mount.
type userVolume struct {
	name string
	// source returns the volume. directory is its own directory on the node.
	source func(directory string) corev1.VolumeSource
	// marker is true if the volume has a file marker, fromAPI if it is always read-only,
	// and file if it is a file. part is the subPath of its mount.
	marker, fromAPI, file bool
	part                  string
	// everyImage is true if the test tries it with each image, not only with the link.
	everyImage bool
}

func userVolumes() []userVolume {
	keys := []corev1.KeyToPath{{Key: "marker", Path: "marker"}}
	named := corev1.LocalObjectReference{Name: "marker"}
	emptyDir := func(medium corev1.StorageMedium) func(string) corev1.VolumeSource {
		return func(string) corev1.VolumeSource {
			return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}}
		}
	}
	secret := func(string) corev1.VolumeSource {
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "marker", Items: keys}}
	}
	hostPath := func(kind corev1.HostPathType, file string) func(string) corev1.VolumeSource {
		return func(directory string) corev1.VolumeSource {
			return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(directory, file), Type: &kind}}
		}
	}
	claim := func(readOnly bool) func(string) corev1.VolumeSource {
		return func(directory string) corev1.VolumeSource {
			return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: filepath.Base(directory), ReadOnly: readOnly}}
		}
	}
	return []userVolume{
		{name: "emptyDir", source: emptyDir(""), everyImage: true},
		{name: "emptyDir in memory", source: emptyDir(corev1.StorageMediumMemory)},
		{name: "emptyDir, subPath", source: emptyDir(""), part: "part"},
		{name: "hostPath", source: hostPath(corev1.HostPathDirectory, ""), marker: true, everyImage: true},
		{name: "hostPath, a file", source: hostPath(corev1.HostPathFile, "marker"), file: true},
		{name: "claim", source: claim(false), marker: true},
		{name: "claim, readOnly", source: claim(true), marker: true, fromAPI: true},
		{name: "Secret", source: secret, marker: true, fromAPI: true, everyImage: true},
		{name: "Secret, subPath", source: secret, fromAPI: true, file: true, part: "marker"},
		{name: "ConfigMap", marker: true, fromAPI: true, source: func(string) corev1.VolumeSource {
			return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named}}
		}},
		{name: "downwardAPI", marker: true, fromAPI: true, source: func(string) corev1.VolumeSource {
			return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "marker", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"},
			}}}}
		}},
		{name: "projected", marker: true, fromAPI: true, source: func(string) corev1.VolumeSource {
			return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
				Secret: &corev1.SecretProjection{LocalObjectReference: named, Items: keys},
			}}}}
		}},
	}
}

// mountPaths returns the mount paths that can conflict with the token's path.
func mountPaths() []string {
	return []string{
		"/", "/var", "/var/run", "/var/run/secrets", "var/run/secrets", "/var/run/secrets/eks.amazonaws.com",
		"/run", "/run/secrets", "/run/secrets/eks.amazonaws.com", "/run/secrets/eks.amazonaws.com/serviceaccount",
		tokenDir + "/", tokenDir + "/data", "/run/secrets/eks.amazonaws.com/serviceaccount/data",
	}
}

// mountCase is a container with one volume at one path.
type mountCase struct {
	volume   userVolume
	path     string
	readOnly bool
}

// addTo adds a container for the case, with its own volume, to a pod.
func (c *mountCase) addTo(pod *corev1.Pod, directory string) {
	name := fmt.Sprintf("c%d", len(pod.Spec.Containers))
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: c.volume.source(directory)})
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
		Name: name, Args: []string{tokenDir + "/token", "/" + strings.TrimPrefix(c.path, "/")}, ImagePullPolicy: corev1.PullNever,
		VolumeMounts: []corev1.VolumeMount{{Name: name, MountPath: c.path, ReadOnly: c.readOnly, SubPath: c.volume.part}},
		// The images have a single program, which can run as any user.
		SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true), RunAsUser: new(int64(65532))},
	})
}

// addToken mounts the token at the usual path, as amazon-eks-pod-identity-webhook does.
func addToken(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "aws-iam-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "sts.amazonaws.com", Path: "token"}}},
	}}})
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "aws-iam-token", MountPath: tokenDir, ReadOnly: true})
	}
}

// The outcomes of a case.
const (
	works    = "works"
	fails    = "fails"
	noToken  = "no token"
	hidden   = "hides the volume"
	notTried = ""
)

// outcome returns the outcome of a case from its container's status, or notTried if
// the container has not ended.
func (c *mountCase) outcome(status *corev1.ContainerStatus) string {
	if w := status.State.Waiting; w != nil && (w.Reason == "CreateContainerError" || w.Reason == "RunContainerError") {
		return fails
	}
	end := status.State.Terminated
	if end == nil {
		return notTried
	}
	if end.ExitCode != 0 {
		return fails
	}
	var found struct{ Token, Marker, Writable bool }
	if err := json.Unmarshal([]byte(end.Message), &found); err != nil {
		return fails
	}
	switch {
	case !found.Token:
		return noToken
	case c.volume.marker && !found.Marker, !c.volume.file && !c.volume.marker && !c.readOnly && !found.Writable:
		return hidden
	default:
		return works
	}
}

// decided reports whether the webhook uses the fallback path for a case.
func (c *mountCase) decided(t *testing.T) bool {
	t.Helper()
	pod := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "app"}}
	c.addTo(pod, "/srv/app")
	document, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	view, err := inject.ReadPod(document)
	if err != nil {
		t.Fatal(err)
	}
	settings := testcases.Defaults()
	id := identity.FromAnnotations(map[string]string{roleAnnotation: "arn:aws:iam::111122223333:role/app"}, settings.Identity())
	return inject.Patch(view, id, settings.Inject()).Containers[0].Reason == inject.FallbackPath
}

// TestMounts_whatReallyFails tries each kind of volume at each path, with the token at
// the usual path. The webhook must use the fallback path if that fails with any image,
// and only then. The observed outcomes are the table of docs/mounts.md.
func TestMounts_whatReallyFails(t *testing.T) {
	namespace := newNamespace(t, nil)
	createMarkers(t, namespace)
	rows := map[string]map[string]string{} // by case and image
	var cases []mountCase
	for _, volume := range userVolumes() {
		var own []mountCase
		for _, path := range mountPaths() {
			for _, readOnly := range []bool{false, true} {
				if readOnly && volume.fromAPI {
					continue // these volumes are always read-only
				}
				own = append(own, mountCase{volume, path, readOnly})
			}
		}
		cases = append(cases, own...)
		for _, image := range probeImages {
			if image == "run-link" || volume.everyImage {
				tryMounts(t, namespace, image, own, rows)
			}
		}
	}
	for _, c := range cases {
		observed := rows[c.key()]
		failed := slices.ContainsFunc(probeImages, func(image string) bool { return observed[image] != works && observed[image] != notTried })
		// An empty volume that is not written to gives no sign that it is hidden.
		blind := !c.volume.marker && (c.readOnly || c.volume.file)
		// No volume can be mounted at /, with the token or without.
		if got := c.decided(t); got != failed && (!got || !blind) && c.path != "/" {
			t.Errorf("%s: got fallback path %t, observed outcomes %v", c.key(), got, observed)
		}
	}
	compareTable(t, cases, rows)
}

func (c *mountCase) key() string {
	return fmt.Sprintf("%s | %t | %s", c.volume.name, c.readOnly || c.volume.fromAPI, c.path)
}

// tryMounts runs a pod with a container for each case and stores the outcomes in rows.
func tryMounts(t *testing.T, namespace, image string, cases []mountCase, rows map[string]map[string]string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "mounts-", Labels: map[string]string{inject.SkipPodLabel: "true"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "default", AutomountServiceAccountToken: new(false), RestartPolicy: corev1.RestartPolicyNever, NodeName: "node",
		},
	}
	for i := range cases {
		cases[i].addTo(pod, prepareVolume(t, namespace, &cases[i]))
		pod.Spec.Containers[i].Image = "localhost/probe:" + image
	}
	addToken(pod)
	pods := world.client.CoreV1().Pods(namespace)
	created, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "each container of "+cases[0].volume.name+" in "+image+" has ended", func(ctx context.Context) error {
		now, err := pods.Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(now.Status.ContainerStatuses) != len(cases) {
			return errors.New("some containers have no status")
		}
		for i := range now.Status.ContainerStatuses {
			status := &now.Status.ContainerStatuses[i]
			at := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == status.Name })
			outcome := cases[at].outcome(status)
			if outcome == notTried {
				return fmt.Errorf("container %s has state %+v", status.Name, status.State)
			}
			if rows[cases[at].key()] == nil {
				rows[cases[at].key()] = map[string]string{}
			}
			rows[cases[at].key()][image] = outcome
		}
		return nil
	})
	if err := pods.Delete(t.Context(), created.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
		t.Fatal(err)
	}
}

// createMarkers creates the Secret and the ConfigMap of the cases.
func createMarkers(t *testing.T, namespace string) {
	t.Helper()
	core := world.client.CoreV1()
	meta := metav1.ObjectMeta{Name: "marker"}
	if _, err := core.Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"marker": "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"marker": "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// prepareVolume creates a directory on the node, with a marker and a claim of the
// same name if the case has them.
func prepareVolume(t *testing.T, namespace string, c *mountCase) string {
	t.Helper()
	source := c.volume.source("/srv/app")
	if source.HostPath == nil && source.PersistentVolumeClaim == nil {
		return ""
	}
	directory, err := os.MkdirTemp(filepath.Dir(world.Kubeconfig), "volume-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "marker"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if source.PersistentVolumeClaim != nil {
		createClaim(t, namespace, directory)
	}
	return directory
}

// createClaim creates a claim, and a volume in a directory of the node, with the
// directory's name.
func createClaim(t *testing.T, namespace, directory string) {
	t.Helper()
	name := filepath.Base(directory)
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	core := world.client.CoreV1()
	if _, err := core.PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:               &corev1.ObjectReference{Namespace: namespace, Name: name},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: directory}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.PersistentVolumes().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if _, err := core.PersistentVolumeClaims(namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: size}, VolumeName: name, StorageClassName: new(""),
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "claim "+name+" is bound", func(ctx context.Context) error {
		claim, err := core.PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && claim.Status.Phase != corev1.ClaimBound {
			err = fmt.Errorf("the claim is %s", claim.Status.Phase)
		}
		return err
	})
}

// The lines before and after the table in docs/mounts.md.
const tableBegin, tableEnd = "<!-- table: make e2e-cluster -->\n", "<!-- end of table -->\n"

// compareTable compares the observed outcomes with the table of docs/mounts.md, or
// writes it with -update.
func compareTable(t *testing.T, cases []mountCase, rows map[string]map[string]string) {
	t.Helper()
	var table strings.Builder
	table.WriteString("| volume | read-only | mounted at | token | link | directory | absent |\n|---|---|---|---|---|---|---|\n")
	for _, c := range cases {
		at := "usual path"
		if c.decided(t) {
			at = "fallback path"
		}
		observed := rows[c.key()]
		readOnly := "no"
		if c.readOnly || c.volume.fromAPI {
			readOnly = "yes"
		}
		fmt.Fprintf(&table, "| %s | %s | `%s` | %s |", c.volume.name, readOnly, c.path, at)
		for _, image := range probeImages {
			fmt.Fprintf(&table, " %s |", cmp.Or(observed[image], "-"))
		}
		table.WriteString("\n")
	}
	file := repopath.Path("docs", "mounts.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), tableBegin)
	old, after, ends := strings.Cut(rest, tableEnd)
	if !found || !ends {
		t.Fatalf("%s has no table", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+tableBegin+table.String()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Errorf("the table of %s does not match the observed outcomes; run with -update to write it:\n%s", file, table.String())
	}
}
