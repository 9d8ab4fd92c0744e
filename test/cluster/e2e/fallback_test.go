package e2e_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFallbackPath_exchange creates containers that would not start with the token at
// the usual path, or that have another mount there. With the token at the fallback path
// each container starts, and its AWS SDK exchanges the token. The image has the link
// /var/run -> /run, as most images do.
func TestFallbackPath_exchange(t *testing.T) {
	const usualPath = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	namespace := newNamespace(t, nil)
	arn := giveRole(t, namespace, "cart")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "passwords"}, StringData: map[string]string{"password": "x"}}
	if _, err := world.client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		volume   corev1.VolumeSource
		path     string
		readOnly bool
		// want is the directory of the token.
		want string
	}{
		"read-only-emptydir-above":  {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/var/run", true, "/eks.amazonaws.com/serviceaccount"},
		"secret-above-by-the-link":  {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "passwords"}}, "/run/secrets", true, "/eks.amazonaws.com/serviceaccount"},
		"another-mount-at-the-path": {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, usualPath, false, "/eks.amazonaws.com/serviceaccount"},
		"secret-above-by-the-path":  {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "passwords"}}, "/var/run/secrets", true, usualPath},
		"writable-emptydir-above":   {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/var/run", false, usualPath},
		"read-only-hostpath-above":  {corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: t.TempDir()}}, "/var/run", true, "/eks.amazonaws.com/serviceaccount"},
		"a-volume-of-the-same-name": {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/data", false, usualPath},
		"read-only-emptydir-near":   {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, "/var/run/secrets/eks.amazonaws.com", true, "/eks.amazonaws.com/serviceaccount"},
	} {
		t.Run(name, func(t *testing.T) {
			volumeName := "data"
			if name == "a-volume-of-the-same-name" {
				volumeName = "aws-iam-token"
			}
			pod := createPod(t, namespace, "cart", func(pod *corev1.Pod) {
				pod.Name = name
				pod.Labels["app"] = name
				// The mount of the token for the API server would fail at the same paths.
				pod.Spec.AutomountServiceAccountToken = new(false)
				pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volumeName, VolumeSource: test.volume})
				container := &pod.Spec.Containers[0]
				container.Image = "localhost/application:run-link"
				container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volumeName, MountPath: test.path, ReadOnly: test.readOnly})
			})
			got := ""
			for _, variable := range pod.Spec.Containers[0].Env {
				if variable.Name == "AWS_WEB_IDENTITY_TOKEN_FILE" {
					got = variable.Value
				}
			}
			if want := test.want + "/token"; got != want {
				t.Errorf("got token file %q, want %q", got, want)
			}
			expectIdentity(t, namespace, "app="+name, "app", arn)
		})
	}
}
