package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

// guardName is that of the policy and of its binding.
const guardName = installed + "-guard"

const optInLabel = "eks.amazonaws.com/pod-identity-webhook"

// guarded applies the guard of the chart with values such as
// "annotationPrefix=irsa.example.com", and returns when the API server heeds it.
// It ends with the test.
func guarded(t *testing.T, client kubernetes.Interface, values ...string) {
	t.Helper()
	probe := newProbe(t, client, values...)
	applyGuard(t, client, probe, values...)
	eventually(t, "the guard is heeded", func(ctx context.Context) error {
		if err := probe(ctx); !refusedByGuard(err) {
			return fmt.Errorf("a pod that lacks its role: %w", err)
		}
		return nil
	})
}

// newProbe returns what creates a pod, for show, that lacks its role.
func newProbe(t *testing.T, client kubernetes.Interface, values ...string) func(context.Context) error {
	t.Helper()
	prefix := "eks.amazonaws.com"
	for _, value := range values {
		if set, ok := strings.CutPrefix(value, "annotationPrefix="); ok {
			prefix = set
		}
	}
	namespace := newNamespace(t, client)
	label(t, client, namespace, optInLabel, "enabled")
	account := serviceAccount("probe", "")
	account.Annotations = map[string]string{prefix + "/role-arn": appRole}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) error { return dryRun(ctx, client, namespace, podOf("probe", "probe")) }
}

// label sets a label of a namespace, or removes it if value is empty.
func label(t *testing.T, client kubernetes.Interface, namespace, key, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value)
	if _, err := client.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// applyGuard applies the guard until the end of the test, and then waits until
// the API server has forgotten it.
func applyGuard(t *testing.T, client kubernetes.Interface, probe func(context.Context) error, values ...string) {
	t.Helper()
	rendered := renderGuard(t, values...)
	t.Cleanup(func() {
		ctx, registered := context.WithoutCancel(t.Context()), client.AdmissionregistrationV1()
		if err := errors.Join(
			registered.ValidatingAdmissionPolicyBindings().Delete(ctx, guardName, metav1.DeleteOptions{}),
			registered.ValidatingAdmissionPolicies().Delete(ctx, guardName, metav1.DeleteOptions{}),
		); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			return probe(ctx) == nil, nil
		}); err != nil {
			t.Errorf("the guard is heeded after its end: %v", err)
		}
	})
	if _, err := manifest.Apply(t.Context(), cluster.Config(), rendered); err != nil {
		t.Fatal(err)
	}
}

// renderGuard returns the path of the guard's manifest.
func renderGuard(t *testing.T, values ...string) string {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		helm = repository.Path("bin", "helm")
	}
	args := []string{
		"template", installed, repository.Path("deploy", "helm", installed), "--namespace=" + installed,
		"--api-versions=admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy", "--show-only=templates/guard.yaml",
	}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	var stderr strings.Builder
	command := exec.CommandContext(t.Context(), helm, args...) //nolint:gosec // the project's own tool
	command.Stderr = &stderr
	rendered, err := command.Output()
	if err != nil {
		t.Fatalf("render the guard: %v: %s", err, stderr.String())
	}
	path := filepath.Join(t.TempDir(), "guard.yaml")
	if err := os.WriteFile(path, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dryRun asks the API server to create a pod, and to store nothing.
func dryRun(ctx context.Context, client kubernetes.Interface, namespace string, pod *corev1.Pod) error {
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// refusedByGuard says whether an error is the guard's.
func refusedByGuard(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), guardName)
}
