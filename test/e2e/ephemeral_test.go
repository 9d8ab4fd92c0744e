package e2e_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEphemeralContainers adds ephemeral containers as kubectl debug does.
func TestEphemeralContainers(t *testing.T) {
	client := newClient(t)
	waitRegistered(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	pods := client.CoreV1().Pods(namespace)
	add := func(pod *corev1.Pod, name string) *corev1.Pod {
		t.Helper()
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "registry.k8s.io/pause:3.10"},
		})
		updated, err := pods.UpdateEphemeralContainers(t.Context(), pod.Name, pod, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return updated
	}
	debuggerRole := func(pod *corev1.Pod, i int) string {
		return roleOf(&corev1.Pod{Spec: corev1.PodSpec{
			Volumes:    pod.Spec.Volumes,
			Containers: []corev1.Container{corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)},
		}})
	}

	created, err := pods.Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := add(created, "first")
	pod = add(pod, "second")
	for i, container := range pod.Spec.EphemeralContainers {
		if got := debuggerRole(pod, i); got != appRole {
			t.Errorf("ephemeral container %s: got role %q", container.Name, got)
		}
		if env, mounts := len(container.Env), len(container.VolumeMounts); env != 2 || mounts != 1 {
			t.Errorf("ephemeral container %s: got %d variables and %d mounts", container.Name, env, mounts)
		}
	}

	// A pod that was created before the webhook cannot get a volume anymore.
	old := podOf("old", "app")
	old.Labels = map[string]string{skipLabel: ""}
	if created, err = pods.Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if pod := add(created, "debugger"); debuggerRole(pod, 0) != "" {
		t.Errorf("got ephemeral container %+v in a pod without the volume, want it unchanged", pod.Spec.EphemeralContainers[0])
	}
}
