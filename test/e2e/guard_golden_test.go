package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// undetected are the test cases that the guard admits although the webhook would
// change their identity. The guard does not know which ServiceAccounts are listed to
// use EKS Pod Identity.
var undetected = []string{
	"container-credentials-no-role",            // only the list has the ServiceAccount
	"container-credentials-copied-pod-of-role", // only the list has the ServiceAccount
	"container-credentials-web-identity",       // only the list has the ServiceAccount
	"agent-variables",                          // the ServiceAccount may be in the list
}

// TestGuard_agreesWithWebhookTestCases creates each pod of the test cases as a dry run,
// without the webhook. The guard must admit it as the webhook injects it. It must
// deny the original pod if the webhook would have changed its identity, and only then.
func TestGuard_agreesWithWebhookTestCases(t *testing.T) {
	client := newClient(t)
	cases := loadTestCases(t, client)
	byValues := map[string][]testcases.Case{}
	for _, c := range cases {
		values := strings.Join([]string{
			"annotationPrefix=" + c.Settings.AnnotationPrefix, "tokenAudience=" + c.Settings.Audience, "tokenMountPath=" + c.Settings.MountPath,
			"tokenFallbackMountPath=" + c.Settings.FallbackMountPath,
		}, " ")
		byValues[values] = append(byValues[values], c)
	}
	for values, cases := range byValues {
		t.Run(values, func(t *testing.T) {
			guarded(t, client, strings.Fields(values)...)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) { checkAgreement(t, client, c) })
			}
		})
	}
}

func checkAgreement(t *testing.T, client kubernetes.Interface, c testcases.Case) {
	namespace := newNamespace(t, client)
	if c.ServiceAccount.Name == "default" {
		// Every namespace has this ServiceAccount already.
		if err := client.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if c.ServiceAccount.Annotations[c.Settings.AnnotationPrefix+"/role-arn"] != "" {
		eventually(t, "the guard sees the ServiceAccount", func(ctx context.Context) error {
			if err := dryRun(ctx, client, namespace, podOf("probe", c.ServiceAccount.Name)); !deniedByGuard(err) {
				return fmt.Errorf("got %w for a pod without its role, want a denial", err)
			}
			return nil
		})
	}

	if err := dryRun(t.Context(), client, namespace, c.GoldenPod); err != nil {
		t.Errorf("the injected pod was denied: %v", err)
	}
	lacking := lacks(&c.Pod, c.GoldenPod)
	if slices.Contains(undetected, c.Name) {
		if len(lacking) == 0 {
			t.Error("the webhook does not change the pod, so it does not belong to undetected")
		}
		lacking = nil
	}
	switch err := dryRun(t.Context(), client, namespace, &c.Pod); {
	case len(lacking) == 0 && err == nil:
	case len(lacking) > 0 && deniedByGuard(err) && strings.Contains(err.Error(), "was not injected into: "+strings.Join(lacking, ", ")+"."):
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "volumeMounts") && !deniedByGuard(err):
		// The pod mounts the volume that the webhook adds, so the API server rejects it
		// without the webhook, with the guard or not.
	default:
		t.Errorf("the webhook would inject containers %q; got %v from the guard", lacking, err)
	}
}

// lacks returns the names of the containers whose identity the webhook changes. The webhook
// adds variables with an identity, or the file that such a variable names.
func lacks(before, after *corev1.Pod) []string {
	windows := before.Spec.OS != nil && before.Spec.OS.Name == corev1.Windows ||
		before.Spec.NodeSelector["kubernetes.io/os"] == "windows" || before.Spec.NodeSelector["beta.kubernetes.io/os"] == "windows"
	var names []string
	for _, containers := range [][2][]corev1.Container{
		{before.Spec.Containers, after.Spec.Containers}, {before.Spec.InitContainers, after.Spec.InitContainers},
	} {
		for i := range containers[1] {
			if before, after := &containers[0][i], &containers[1][i]; givenVariables(before, after) || givenFile(before, after, windows) {
				names = append(names, after.Name)
			}
		}
	}
	return names
}

func givenVariables(before, after *corev1.Container) bool {
	return slices.ContainsFunc(after.Env, func(variable corev1.EnvVar) bool {
		return slices.Contains([]string{
			"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		}, variable.Name) && !slices.ContainsFunc(before.Env, func(v corev1.EnvVar) bool { return v.Name == variable.Name })
	})
}

func givenFile(before, after *corev1.Container, windows bool) bool {
	for _, mount := range after.VolumeMounts {
		if slices.ContainsFunc(before.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == mount.MountPath }) {
			continue
		}
		if namesFileIn(after, mount.MountPath, windows) {
			return true
		}
	}
	return false
}

// namesFileIn reports whether an identity variable names a file in the directory.
func namesFileIn(container *corev1.Container, directory string, windows bool) bool {
	return slices.ContainsFunc(container.Env, func(variable corev1.EnvVar) bool {
		file := variable.Value
		if windows {
			file = strings.ReplaceAll(strings.TrimPrefix(file, "C:"), `\`, "/")
		}
		return slices.Contains([]string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE"}, variable.Name) && strings.HasPrefix(file, strings.TrimSuffix(directory, "/")+"/")
	})
}
