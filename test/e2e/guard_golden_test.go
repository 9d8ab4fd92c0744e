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

// unseen are the pods of the corpus that the guard lets through though the
// webhook would have changed their identity: it does not know which
// ServiceAccounts are listed to use EKS Pod Identity.
var unseen = []string{
	"container-credentials-no-role",            // the list is all that promises something
	"container-credentials-copied-pod-of-role", // likewise
	"container-credentials-web-identity",       // likewise
	"agent-variables",                          // it may be listed
}

// TestGuard_agreesWithWebhookTestCases shows each pod of the corpus to
// the API server as the webhook makes it, which must pass, and as the user wrote
// it, which must be refused if the webhook would have changed its identity, and
// only then.
func TestGuard_agreesWithWebhookTestCases(t *testing.T) {
	client := newClient(t)
	cases := loadCorpus(t, client)
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
		// The namespace has it already.
		if err := client.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if c.ServiceAccount.Annotations[c.Settings.AnnotationPrefix+"/role-arn"] != "" {
		eventually(t, "the API server knows the ServiceAccount", func(ctx context.Context) error {
			if err := dryRun(ctx, client, namespace, podOf("probe", c.ServiceAccount.Name)); !refusedByGuard(err) {
				return fmt.Errorf("a pod that lacks its role: %w", err)
			}
			return nil
		})
	}

	if err := dryRun(t.Context(), client, namespace, c.GoldenPod); err != nil {
		t.Errorf("the pod that the webhook makes: %v", err)
	}
	lacking := lacks(&c.Pod, c.GoldenPod)
	if slices.Contains(unseen, c.Name) {
		if len(lacking) == 0 {
			t.Error("it is not changed, so it is not unseen")
		}
		lacking = nil
	}
	switch err := dryRun(t.Context(), client, namespace, &c.Pod); {
	case len(lacking) == 0 && err == nil:
	case len(lacking) > 0 && refusedByGuard(err) && strings.Contains(err.Error(), "was not injected into: "+strings.Join(lacking, ", ")+"."):
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "volumeMounts") && !refusedByGuard(err):
		// It mounts the volume that the webhook adds, so it cannot be created
		// without, guard or none.
	default:
		t.Errorf("the webhook would give an identity to %q; without it: %v", lacking, err)
	}
}

// lacks names the containers whose identity is another after the webhook: they
// are given variables that make one, or the file that such a variable names.
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

// namesFileIn says whether a variable of an identity names a file in a directory.
func namesFileIn(container *corev1.Container, directory string, windows bool) bool {
	return slices.ContainsFunc(container.Env, func(variable corev1.EnvVar) bool {
		file := variable.Value
		if windows {
			file = strings.ReplaceAll(strings.TrimPrefix(file, "C:"), `\`, "/")
		}
		return slices.Contains([]string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE"}, variable.Name) && strings.HasPrefix(file, strings.TrimSuffix(directory, "/")+"/")
	})
}
