package e2e_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// TestGolden_ephemeralContainers adds ephemeral containers to each running pod of the
// test cases. The pods are created before the webhook starts, so their identity is
// only that of their manifests.
func TestGolden_ephemeralContainers(t *testing.T) {
	cases, err := testcases.LoadEphemeral(repopath.Path("test", "inject", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	bySettings := map[testcases.Settings][]testcases.EphemeralCase{}
	for _, c := range cases {
		bySettings[c.Settings] = append(bySettings[c.Settings], c)
	}
	client := newClient(t)
	for settings, cases := range bySettings {
		t.Run(fmt.Sprintf("%+v", settings), func(t *testing.T) {
			namespaces := map[string]string{}
			running := map[string]*corev1.Pod{}
			for _, c := range cases {
				namespaces[c.Name] = newNamespace(t, client)
				running[c.Name] = run(t, client, namespaces[c.Name], c)
			}
			registeredWith(t, client, settings, namespaces)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					before := running[c.Name]
					stored := debug(t, client, before.DeepCopy(), c.Added)
					want, got := c.GoldenPod.Spec.EphemeralContainers, stored.Spec.EphemeralContainers
					for i := range want {
						if diff := cmp.Diff(want[i].Env, got[i].Env) + cmp.Diff(want[i].VolumeMounts, got[i].VolumeMounts); diff != "" {
							t.Errorf("ephemeral container %s differs from the golden file (-want +got):\n%s", want[i].Name, diff)
						}
					}
					stored.Spec.EphemeralContainers = before.Spec.EphemeralContainers
					if diff := cmp.Diff(before.Spec, stored.Spec) + cmp.Diff(before.Labels, stored.Labels) + cmp.Diff(before.Annotations, stored.Annotations); diff != "" {
						t.Errorf("the pod changed in other fields than its ephemeral containers (-before +after):\n%s", diff)
					}
				})
			}
		})
	}
}

// run creates the pod of a case and its existing ephemeral containers.
func run(t *testing.T, client kubernetes.Interface, namespace string, c testcases.EphemeralCase) *corev1.Pod {
	t.Helper()
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	pod := c.Pod.DeepCopy()
	pod.Spec.EphemeralContainers = nil
	created, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if c.Pod.Spec.EphemeralContainers == nil {
		return created
	}
	return debug(t, client, created, c.Pod.Spec.EphemeralContainers)
}

// debug adds ephemeral containers to a pod.
func debug(t *testing.T, client kubernetes.Interface, pod *corev1.Pod, added []corev1.EphemeralContainer) *corev1.Pod {
	t.Helper()
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, added...)
	updated, err := client.CoreV1().Pods(pod.Namespace).UpdateEphemeralContainers(t.Context(), pod.Name, pod, metav1.UpdateOptions{
		FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		t.Fatal(err)
	}
	return updated
}
