package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

const (
	tokenDir       = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	fallbackFolder = "/eks.amazonaws.com/serviceaccount"

	configAnnotation = "eks.amazonaws.com/aws-config"
)

// TestGuard_agreesWithWebhookRandomPods generates pods that an API server accepts, with
// random values in the fields that webhook and guard read.
func TestGuard_agreesWithWebhookRandomPods(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "5s", "rapid.checks": "600"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	// The API server itself returns warnings for random pods.
	client, _ := newWarnedClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	accounts := randomAccounts()
	for name, annotations := range accounts {
		account := serviceAccount(name, "")
		account.Annotations = annotations
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if annotations[roleAnnotation] != "" {
			waitDenied(t, client, namespace, name)
		}
	}
	refused := 0
	rapid.Check(t, func(r *rapid.T) {
		pod := randomPod(r, accounts)
		after := mutate(r, pod, accounts[pod.Spec.ServiceAccountName])
		if err := dryRun(t.Context(), client, namespace, after); err != nil {
			r.Fatalf("the injected pod was denied: %v\npod %s", err, encode(r, pod))
		}
		if mountsTokenElsewhere(pod) {
			return
		}
		lacking := lacks(pod, after)
		err := dryRun(t.Context(), client, namespace, pod)
		switch {
		case len(lacking) == 0 && err == nil:
		case len(lacking) > 0 && deniedByGuard(err) && strings.Contains(err.Error(), "was not injected into: "+strings.Join(lacking, ", ")+"."):
			refused++
		default:
			r.Errorf("the webhook would inject containers %q; got %v from the guard\npod %s", lacking, err, encode(r, pod))
		}
	})
	if refused == 0 {
		t.Error("got no random pod that was denied")
	}
}

// mountsTokenElsewhere reports whether a container names a file in the webhook's
// directory and mounts a token volume elsewhere. The guard admits such pods, while the
// webhook also checks the paths.
func mountsTokenElsewhere(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool {
		return (namesFileIn(&c, tokenDir, false) || namesFileIn(&c, tokenDir, true)) && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return strings.HasPrefix(m.Name, "aws-iam-token") || m.Name == "other"
		})
	})
}

// waitDenied waits until the guard denies a pod of a ServiceAccount with a role.
func waitDenied(t testing.TB, client kubernetes.Interface, namespace, account string) {
	t.Helper()
	eventually(t, "the role of "+account+" is in effect", func(ctx context.Context) error {
		if err := dryRun(ctx, client, namespace, podOf("probe", account)); !deniedByGuard(err) {
			return fmt.Errorf("got %w for a pod without its role, want a denial", err)
		}
		return nil
	})
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// randomAccounts returns the annotations of the ServiceAccounts of random pods.
func randomAccounts() map[string]map[string]string {
	const prefix, target = "eks.amazonaws.com/", "arn:aws:iam::444455556666:role/target"
	return map[string]map[string]string{
		"role":             {roleAnnotation: appRole},
		"space":            {roleAnnotation: " "},
		"none":             {roleAnnotation: ""},
		"other-audience":   {roleAnnotation: appRole, prefix + "audience": "vault"},
		"chained":          {roleAnnotation: appRole, prefix + "target-role-arn": target},
		"chained-by-none":  {prefix + "target-role-arn": target},
		"control-in-role":  {roleAnnotation: appRole + "\n", prefix + "target-role-arn": target},
		"control-in-chain": {roleAnnotation: appRole, prefix + "target-role-arn": target + "\u0085"},
	}
}

// mutate returns a pod as the webhook injects it.
func mutate(r *rapid.T, pod *corev1.Pod, annotations map[string]string) *corev1.Pod {
	before := encode(r, pod)
	view, err := inject.ReadPod(before)
	if err != nil {
		r.Fatal(err)
	}
	if inject.SkipReason(view) != "" {
		return pod
	}
	settings := testcases.Defaults()
	result := inject.Patch(view, identity.FromAnnotations(annotations, settings.Identity()), settings.Inject())
	if result.Patch == nil {
		return pod
	}
	patch, err := jsonpatch.DecodePatch(result.Patch)
	if err != nil {
		r.Fatal(err)
	}
	patched, err := patch.Apply(before)
	if err != nil {
		r.Fatal(err)
	}
	var after corev1.Pod
	if err := json.Unmarshal(patched, &after); err != nil {
		r.Fatal(err)
	}
	return &after
}

func encode(r *rapid.T, pod *corev1.Pod) []byte {
	encoded, err := json.Marshal(pod)
	if err != nil {
		r.Fatal(err)
	}
	return encoded
}

func oneOf(r *rapid.T, label string, values ...string) string {
	return rapid.SampledFrom(values).Draw(r, label)
}

// rarely returns true with a probability of one in four.
func rarely(r *rapid.T, label string) bool { return rapid.IntRange(0, 3).Draw(r, label) == 3 }

func randomPod(r *rapid.T, accounts map[string]map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "random"}, Spec: corev1.PodSpec{
		ServiceAccountName: oneOf(r, "account", slices.Sorted(mapKeys(accounts))...), AutomountServiceAccountToken: new(false),
	}}
	for _, annotation := range []string{"skip-containers", "include-containers"} {
		if rarely(r, annotation) {
			pod.Annotations = map[string]string{"eks.amazonaws.com/" + annotation: strings.Join(rapid.SliceOfN(rapid.SampledFrom(
				[]string{"app", "app", "log", "init", "a", ",", ",", ",", `"`, `"`, "\n", "\r", "\r\n", " ", "\t", "\v", "\u0085", "\u2003"},
			), 0, 8).Draw(r, "list"), "")}
		}
	}
	if rapid.IntRange(0, 15).Draw(r, "label") == 15 {
		pod.Labels = map[string]string{skipLabel: ""}
	}
	if rarely(r, "windows") {
		pod.Spec.NodeSelector = map[string]string{oneOf(r, "selector", "kubernetes.io/os", "beta.kubernetes.io/os"): oneOf(r, "selected", "windows", "linux")}
	}
	if rarely(r, "os") {
		pod.Spec.OS = &corev1.PodOS{Name: corev1.OSName(oneOf(r, "os name", "windows", "linux"))}
	}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "data"},
		{Name: "user", VolumeSource: randomSource(r)},
		{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}},
	}
	for _, name := range []string{"aws-iam-token", "aws-iam-token-2", "other"} {
		if rapid.Bool().Draw(r, name) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, randomVolume(r, name))
		}
	}
	for _, name := range []string{"app", "log"} {
		pod.Spec.Containers = append(pod.Spec.Containers, randomContainer(r, name, pod.Spec.Volumes))
	}
	if rapid.Bool().Draw(r, "init container") {
		pod.Spec.InitContainers = []corev1.Container{randomContainer(r, "init", pod.Spec.Volumes)}
	}
	if rarely(r, "copied") {
		config := oneOf(r, "AWS configuration", "[default]\n", configOf(r, pod, accounts, false), configOf(r, pod, accounts, true))
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, configAnnotation, config)
	}
	return pod
}

// configOf returns the AWS configuration that the webhook adds to the pod, with the
// token at the usual or at the fallback path. A copy of an injected pod has it
// before the webhook is called.
func configOf(r *rapid.T, pod *corev1.Pod, accounts map[string]map[string]string, fallback bool) string {
	container := corev1.Container{Name: "app"}
	if fallback {
		container.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: tokenDir}}
	}
	like := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "like"}, Spec: corev1.PodSpec{
		ServiceAccountName: pod.Spec.ServiceAccountName, NodeSelector: pod.Spec.NodeSelector, OS: pod.Spec.OS,
		Volumes: []corev1.Volume{{Name: "data"}}, Containers: []corev1.Container{container},
	}}
	return mutate(r, like, accounts[pod.Spec.ServiceAccountName]).Annotations[configAnnotation]
}

// randomSource returns a random volume source. Only the kinds that differ in what can be
// mounted in them occur.
func randomSource(r *rapid.T) corev1.VolumeSource {
	sources := map[string]corev1.VolumeSource{
		"secret":          {Secret: &corev1.SecretVolumeSource{SecretName: "user"}},
		"configMap":       {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "user"}}},
		"downwardAPI":     {DownwardAPI: &corev1.DownwardAPIVolumeSource{}},
		"claim":           {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "user"}},
		"claim read-only": {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "user", ReadOnly: true}},
		"csi":             {CSI: &corev1.CSIVolumeSource{Driver: "user.example.com", ReadOnly: new(false)}},
		"csi read-only":   {CSI: &corev1.CSIVolumeSource{Driver: "user.example.com", ReadOnly: new(true)}},
		"directory":       {HostPath: &corev1.HostPathVolumeSource{Path: "/srv", Type: new(corev1.HostPathDirectory)}},
		"file":            {HostPath: &corev1.HostPathVolumeSource{Path: "/srv/file", Type: new(corev1.HostPathFileOrCreate)}},
		"nfs read-only":   {NFS: &corev1.NFSVolumeSource{Server: "nfs.example.com", Path: "/", ReadOnly: true}},
	}
	return sources[oneOf(r, "kind", slices.Sorted(mapKeys(sources))...)]
}

func randomVolume(r *rapid.T, name string) corev1.Volume {
	source := func(audience, path string) corev1.VolumeProjection {
		return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, Path: path}}
	}
	sources := []corev1.VolumeProjection{source(oneOf(r, "audience", "sts.amazonaws.com", "sts.amazonaws.com", "vault", ""), oneOf(r, "file", "token", "token", "jwt"))}
	if rapid.Bool().Draw(r, "configuration") {
		sources = append(sources, corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path:     oneOf(r, "config file", "config", "other"),
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + oneOf(r, "field", configAnnotation, "other") + "']"},
		}}}})
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}
}

func randomContainer(r *rapid.T, name string, volumes []corev1.Volume) corev1.Container {
	container := corev1.Container{Name: name, Image: "registry.k8s.io/pause:3.10"}
	for range rapid.IntRange(0, 4).Draw(r, "variables") {
		variable := corev1.EnvVar{Name: oneOf(r, "variable", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE",
			"AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_STS_REGIONAL_ENDPOINTS", "GREETING")}
		switch value := oneOf(r, "value", appRole, tokenDir+"/token", tokenDir+"/config", `C:`+strings.ReplaceAll(tokenDir, "/", `\`)+`\token`, "/own/token", "", "elsewhere"); value {
		case "elsewhere":
			variable.ValueFrom = &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}
		default:
			variable.Value = value
		}
		container.Env = append(container.Env, variable)
	}
	taken := map[string]bool{}
	path := func() string {
		return oneOf(r, "path", "/data", "/own", tokenDir, tokenDir, tokenDir+"/", tokenDir[1:], "/."+tokenDir, strings.ReplaceAll(tokenDir, "/", "//"),
			tokenDir+"/token", tokenDir+"s", tokenDir+"/./.", "/var/run/secrets", strings.ToUpper(tokenDir), strings.ReplaceAll(tokenDir, "/", `\`),
			"/", "/var", "/var/run", "/run", "/run/secrets", "/run/secrets", "run/secrets", "/var/run/secrets/eks.amazonaws.com", tokenDir+"/data", tokenDir+"/data",
			strings.TrimPrefix(tokenDir, "/var"), strings.TrimPrefix(tokenDir, "/var")+"/data", fallbackFolder, "/eks.amazonaws.com", fallbackFolder+"/data")
	}
	for range rapid.IntRange(0, 2).Draw(r, "mounts") {
		mount := corev1.VolumeMount{Name: rapid.SampledFrom(volumes).Draw(r, "volume").Name, MountPath: path()}
		if mount.Name == "disk" || taken[mount.MountPath] {
			continue
		}
		taken[mount.MountPath] = true
		if rarely(r, "subPath") {
			mount.SubPath = "token"
		}
		mount.ReadOnly = rapid.Bool().Draw(r, "read-only")
		container.VolumeMounts = append(container.VolumeMounts, mount)
	}
	if rarely(r, "device") {
		if at := path(); !taken[at] {
			container.VolumeDevices = []corev1.VolumeDevice{{Name: "disk", DevicePath: at}}
		}
	}
	return container
}
