package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const skipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

// TestGolden_pods creates each pod of the test cases with the webhook. It compares the
// stored pod with the golden pod. The same API server stores the golden pod while the
// webhook skips it. So the API server's defaults and additions are the same in both.
func TestGolden_pods(t *testing.T) {
	client := newClient(t)
	cases := loadTestCases(t, client)
	bySettings := map[testcases.Settings][]testcases.Case{}
	for _, c := range cases {
		bySettings[c.Settings] = append(bySettings[c.Settings], c)
	}
	for settings, cases := range bySettings {
		t.Run(fmt.Sprintf("%+v", settings), func(t *testing.T) {
			// The names of the cases' objects repeat, so each case has its own namespace.
			namespaces := map[string]string{}
			for _, c := range cases {
				namespaces[c.Name] = newNamespace(t, client)
			}
			registeredWith(t, client, settings, namespaces)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) { checkStored(t, client, namespaces[c.Name], c) })
			}
		})
	}
}

// registeredWith starts a webhook with the settings of cases. namespaces maps the names
// of the cases to their namespaces.
func registeredWith(t *testing.T, client kubernetes.Interface, settings testcases.Settings, namespaces map[string]string) {
	t.Helper()
	args := flags(settings)
	if settings.ContainerCredentials {
		args = append(args, "--watch-container-credentials-config="+listOf(t, namespaces))
	}
	registeredAs(t, client, webhookprocess.RegisterOptions{AnnotationPrefix: settings.AnnotationPrefix}, args...)
}

func flags(settings testcases.Settings) []string {
	account := []string{}
	if settings.AccountID != "" {
		account = []string{"--compose-role-arn", "--aws-account-id=" + settings.AccountID, "--aws-partition=" + settings.Partition}
	}
	return append(account,
		"--role-session-name="+settings.SessionName,
		"--sts-endpoint="+settings.STSEndpoint,
		"--annotation-prefix="+settings.AnnotationPrefix,
		"--token-audience="+settings.Audience,
		fmt.Sprintf("--token-expiration=%d", settings.ExpirationSeconds),
		"--token-mount-path="+settings.MountPath,
		"--token-fallback-mount-path="+settings.FallbackMountPath,
		"--aws-default-region="+settings.Region,
		fmt.Sprintf("--sts-regional-endpoint=%t", settings.RegionalSTS),
	)
}

// listOf writes a file that lists the ServiceAccount app of each namespace.
func listOf(t *testing.T, namespaces map[string]string) string {
	t.Helper()
	type entry struct {
		Namespace      string `json:"namespace"`
		ServiceAccount string `json:"serviceAccount"`
	}
	var entries []entry
	for _, namespace := range namespaces {
		entries = append(entries, entry{namespace, "app"})
	}
	content, err := json.Marshal(map[string]any{"identities": entries})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkStored(t *testing.T, client kubernetes.Interface, namespace string, c testcases.Case) {
	if c.ServiceAccount.Name != "default" {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create := func(ctx context.Context, pod *corev1.Pod, dryRun ...string) *corev1.Pod {
		created, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{
			DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict,
		})
		if err != nil {
			t.Fatal(err)
		}
		return created
	}

	golden := c.GoldenPod.DeepCopy()
	if golden.Labels == nil {
		golden.Labels = map[string]string{}
	}
	golden.Labels[skipLabel] = ""
	want := create(t.Context(), golden, metav1.DryRunAll)
	created := create(t.Context(), &c.Pod)
	stored, err := client.CoreV1().Pods(namespace).Get(t.Context(), created.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Settings.ContainerCredentials {
		normalizeExpiration(t, stored, c.Pod.Spec.Volumes)
	}
	if diff := cmp.Diff(normalizePod(want), normalizePod(stored)); diff != "" {
		t.Errorf("the stored pod differs from the golden file (-want +got):\n%s", diff)
	}
}

// normalizeExpiration sets the lifetime of tokens for EKS Pod Identity to the default.
// The webhook varies it per pod. User-defined volumes are not changed.
func normalizeExpiration(t *testing.T, pod *corev1.Pod, userDefined []corev1.Volume) {
	t.Helper()
	for _, volume := range pod.Spec.Volumes {
		if slices.ContainsFunc(userDefined, func(v corev1.Volume) bool { return v.Name == volume.Name }) ||
			volume.Projected == nil || volume.Projected.Sources[0].ServiceAccountToken == nil {
			continue
		}
		seconds := volume.Projected.Sources[0].ServiceAccountToken.ExpirationSeconds
		if *seconds < 79200 || *seconds > 86400 {
			t.Errorf("volume %s: got token lifetime %d s", volume.Name, *seconds)
		}
		*seconds = 86400
	}
}

// normalizePod removes the fields that differ between two creations of a pod.
func normalizePod(pod *corev1.Pod) *corev1.Pod {
	labels := maps.Clone(pod.Labels)
	delete(labels, skipLabel)
	compared := &corev1.Pod{Spec: *pod.Spec.DeepCopy()}
	if len(labels) > 0 {
		compared.Labels = labels
	}
	compared.Annotations = pod.Annotations
	// The token volume of the API server, with a random name. Not all pods have it.
	isOwn := func(name string) bool { return len(name) > 16 && name[:16] == "kube-api-access-" }
	compared.Spec.Volumes = slices.DeleteFunc(compared.Spec.Volumes, func(v corev1.Volume) bool { return isOwn(v.Name) })
	for _, containers := range [][]corev1.Container{compared.Spec.Containers, compared.Spec.InitContainers} {
		for i := range containers {
			containers[i].VolumeMounts = slices.DeleteFunc(containers[i].VolumeMounts, func(m corev1.VolumeMount) bool { return isOwn(m.Name) })
		}
	}
	return compared
}
