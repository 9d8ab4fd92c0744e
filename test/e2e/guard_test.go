package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// guardName is the name of the policy and of its binding.
const guardName = chart.ClusterName + "-guard"

// guarded applies the guard of the chart with values such as
// "annotationPrefix=irsa.example.com" and waits until it is in effect. It removes the
// guard at the end of the test.
func guarded(t testing.TB, client kubernetes.Interface, values ...string) {
	t.Helper()
	probe := newProbe(t, client, values...)
	applyGuard(t, client, probe, values...)
	eventually(t, "the guard is in effect", func(ctx context.Context) error {
		if err := probe(ctx); !deniedByGuard(err) {
			return fmt.Errorf("got %w for a pod without its role, want a denial", err)
		}
		return nil
	})
}

// newProbe returns a function that creates a pod without its role, as a dry run.
func newProbe(t testing.TB, client kubernetes.Interface, values ...string) func(context.Context) error {
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

// applyGuard applies the guard. At the end of the test it deletes the guard and waits
// until it is no longer in effect.
func applyGuard(t testing.TB, client kubernetes.Interface, probe func(context.Context) error, values ...string) {
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
			t.Errorf("the guard still denies pods after its deletion: %v", err)
		}
	})
	if _, err := manifest.Apply(t.Context(), cluster.Config(), rendered); err != nil {
		t.Fatal(err)
	}
}

// renderGuard renders the guard's manifest and returns its path.
func renderGuard(t testing.TB, values ...string) string {
	t.Helper()
	args := []string{"--show-only=templates/guard.yaml"}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	rendered := helmTemplate(t, args...)
	path := filepath.Join(t.TempDir(), "guard.yaml")
	if err := os.WriteFile(path, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// helmTemplate renders the chart.
func helmTemplate(t testing.TB, args ...string) string {
	t.Helper()
	rendered, err := chart.Template(t.Context(), installed, args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(rendered)
}

// dryRun creates a pod as a dry run.
func dryRun(ctx context.Context, client kubernetes.Interface, namespace string, pod *corev1.Pod) error {
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// deniedByGuard reports whether an error is a denial by the guard.
func deniedByGuard(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), guardName)
}

func TestGuard_webhookDown(t *testing.T) {
	client := newClient(t)
	guarded(t, client)
	webhook := registeredAs(t, client, webhookprocess.RegisterOptions{FailurePolicy: admissionregistrationv1.Ignore})
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	create := func(ctx context.Context, name, account string) (*corev1.Pod, error) {
		return client.CoreV1().Pods(namespace).Create(ctx, podOf(name, account), metav1.CreateOptions{})
	}
	if pod, err := create(t.Context(), "before", "app"); err != nil || roleOf(pod) != appRole {
		t.Fatalf("with the webhook: got role %q, error %v", roleOf(pod), err)
	}

	webhook.Kill()
	if _, err := create(t.Context(), "plain", "default"); err != nil {
		t.Errorf("got %v for a pod that needs no role", err)
	}
	eventually(t, "the guard sees the role", func(ctx context.Context) error {
		_, err := create(ctx, "refused", "app")
		if !deniedByGuard(err) {
			return fmt.Errorf("got %w for a pod without its role, want a denial", err)
		}
		for _, want := range []string{
			"ServiceAccount " + namespace + "/app ", ": app.", "webhook was not reached", "Retry",
			"kubectl -n " + installed + " get pods", skipLabel,
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the message does not contain %q: %v", want, err)
			}
		}
		return nil
	})
	labeled := podOf("labeled", "app")
	labeled.Labels = map[string]string{skipLabel: "true"}
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), labeled, metav1.CreateOptions{}); err != nil {
		t.Errorf("with the label that the message suggests: %v", err)
	}

	if err := webhook.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pod, err := create(t.Context(), "after", "app"); err != nil || roleOf(pod) != appRole {
		t.Errorf("with the webhook again: got role %q, error %v", roleOf(pod), err)
	}
}

// TestGuard_podsNotSentToWebhook has small pods, for most of the test cases and for cases
// without a test case.
func TestGuard_podsNotSentToWebhook(t *testing.T) {
	client := newClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	const prefix = "eks.amazonaws.com/"
	for name, annotations := range map[string]map[string]string{
		"app":        {roleAnnotation: appRole},
		"bare-name":  {roleAnnotation: "app"},
		"chained":    {roleAnnotation: appRole, prefix + "target-role-arn": appRole},
		"empty":      {roleAnnotation: ""},
		"audience":   {prefix + "audience": "vault"},
		"elsewhere":  {"irsa.example.com/role-arn": appRole},
		"misspelled": {"eks.amazon.com/role-arn": appRole},
		"other-name": {roleAnnotation: appRole},
	} {
		account := serviceAccount(name, "")
		account.Annotations = annotations
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if annotations[roleAnnotation] != "" {
			waitDenied(t, client, namespace, name)
		}
	}
	const agent = "http://169.254.170.23/v1/credentials"
	always := corev1.ContainerRestartPolicyAlways
	annotate := func(name, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations = map[string]string{prefix + name: value} }
	}
	env := func(pairs ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			for i := 0; i < len(pairs); i += 2 {
				pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
			}
		}
	}
	initContainer := func(policy *corev1.ContainerRestartPolicy, skip string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "registry.k8s.io/pause:3.10", RestartPolicy: policy}}
			annotate("skip-containers", skip)(pod)
		}
	}
	mount := func(path string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: path}}
		}
	}
	for _, test := range []struct {
		name, account string
		change        func(*corev1.Pod)
		// lacking are the containers that the message must name; empty if the guard must
		// admit the pod.
		lacking string
	}{
		{"a role", "app", nil, "app"},
		{"a role name without ARN", "bare-name", nil, "app"},
		{"a chained role", "chained", nil, "app"},
		{"an empty role", "empty", nil, ""},
		{"annotations without a role", "audience", nil, ""},
		{"a role under another prefix", "elsewhere", nil, ""},
		{"a misspelled role", "misspelled", nil, ""},
		{"no annotations, but other ServiceAccounts with a role", "default", nil, ""},
		{"the default ServiceAccount, not named", "", nil, ""},

		{"an init container is named too", "app", initContainer(nil, ""), "app, init"},
		{"a sidecar is named too", "app", initContainer(&always, ""), "app, init"},
		{"skipped containers are not named", "app", initContainer(nil, " app "), "init"},
		{"all containers are skipped", "app", initContainer(&always, `"init",app`), ""},
		{"a malformed list skips none", "app", annotate("skip-containers", `"app`), "app"},
		{"another container is included", "app", annotate("include-containers", "log"), ""},
		{"the container is included", "app", annotate("include-containers", "log , app"), "app"},
		{"an empty list includes all", "app", annotate("include-containers", " ,"), "app"},
		{"the label with any value", "app", func(pod *corev1.Pod) { pod.Labels = map[string]string{skipLabel: "false"} }, ""},

		{"an existing role", "app", env("AWS_ROLE_ARN", "arn:aws:iam::444455556666:role/own"), ""},
		{"an existing token", "app", env("AWS_WEB_IDENTITY_TOKEN_FILE", "/own/token"), ""},
		{"the webhook's file, which is not mounted", "app", env("AWS_WEB_IDENTITY_TOKEN_FILE", tokenDir+"/token"), "app"},
		{"the same, with region and STS endpoints", "app", env("AWS_WEB_IDENTITY_TOKEN_FILE", tokenDir+"/token", "AWS_REGION", "eu-west-1", "AWS_STS_REGIONAL_ENDPOINTS", "regional"), ""},
		{"region and STS endpoints alone", "app", env("AWS_REGION", "eu-west-1", "AWS_STS_REGIONAL_ENDPOINTS", "regional"), "app"},
		{"a credential agent", "app", env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent), ""},
		{"an agent's token", "app", env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/own/token"), ""},
		{"a profile without a web identity", "app", env("AWS_PROFILE", "own"), "app"},
		{"a profile and a chained role", "chained", env("AWS_PROFILE", "own"), ""},
		{"a configuration file and a chained role", "chained", env("AWS_CONFIG_FILE", "/own/config"), ""},

		// The webhook would mount the token at the fallback path.
		{"a mount at the token's directory", "app", mount(tokenDir), "app"},
		{"a mount below it", "app", mount(tokenDir + "/token"), "app"},
		{"a mount next to it", "app", mount(tokenDir + "s"), "app"},
		{"a mount above it", "app", mount("/var/run/secrets"), "app"},
		{"a mount at the directory of EKS Pod Identity", "app", mount("/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"), "app"},
		{"a path that the guard does not check", "app", mount("/data/../own"), ""},
		{"paths are case-sensitive on Linux", "app", mount(strings.ToUpper(tokenDir)), "app"},
		{"paths are case-insensitive on Windows", "app", func(pod *corev1.Pod) {
			mount(strings.ToUpper(tokenDir))(pod)
			pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
		}, "app"},
		{"Windows", "app", func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }, "app"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := podOf("app", test.account)
			if test.change != nil {
				test.change(pod)
			}
			err := dryRun(t.Context(), client, namespace, pod)
			switch {
			case test.lacking == "" && err != nil:
				t.Errorf("got denial %v, want the pod admitted", err)
			case test.lacking != "" && (!deniedByGuard(err) || !strings.Contains(err.Error(), "was not injected into: "+test.lacking+".")):
				t.Errorf("got %v, want a denial with containers %s", err, test.lacking)
			}
		})
	}
}

// TestGuard_namespaceWithoutServiceAccounts uses a mirror pod: the API server itself
// rejects any other pod without a ServiceAccount.
func TestGuard_namespaceWithoutServiceAccounts(t *testing.T) {
	client := newClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	if err := client.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	mirror := podOf("mirror", "")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "3f1c5e5a9d7b4c2e8f60a1b2c3d4e5f6"}
	mirror.Spec.NodeName = "node"
	// The admission plugin that reports this lists the same ServiceAccounts as the guard.
	eventually(t, "the API server sees the deletion of the ServiceAccount", func(ctx context.Context) error {
		err := dryRun(ctx, client, namespace, podOf("app", "default"))
		if err == nil || deniedByGuard(err) {
			return fmt.Errorf("got %w for a pod of the deleted ServiceAccount", err)
		}
		return nil
	})
	if err := dryRun(t.Context(), client, namespace, mirror); err != nil {
		t.Error(err)
	}
}

func TestGuard_serviceAccountChange(t *testing.T) {
	client := newClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "new")
	waitDenied(t, client, namespace, "new")

	account := serviceAccount("app", "")
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := dryRun(t.Context(), client, namespace, podOf("app", "app")); err != nil {
		t.Errorf("before the ServiceAccount has a role: %v", err)
	}
	annotate := func(role string) {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, roleAnnotation, role)
		if _, err := client.CoreV1().ServiceAccounts(namespace).Patch(t.Context(), "app", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	annotate(appRole)
	waitDenied(t, client, namespace, "app")
	annotate("")
	eventually(t, "the guard sees the removal of the role", func(ctx context.Context) error {
		return dryRun(ctx, client, namespace, podOf("app", "app"))
	})
}

func TestGuard_warn(t *testing.T) {
	client, received := newWarnedClient(t)
	probe := newProbe(t, client)
	applyGuard(t, client, probe, "guard.validationActions={Warn}")
	eventually(t, "a pod without its role causes a warning", func(ctx context.Context) error {
		if err := probe(ctx); err != nil {
			t.Fatalf("got %v, want a warning and no denial", err)
		}
		if got := received.take(); !strings.Contains(got, guardName) || !strings.Contains(got, "was not injected into: app.") {
			return fmt.Errorf("got warnings %q", got)
		}
		return nil
	})
	namespace := newNamespace(t, client)
	if err := dryRun(t.Context(), client, namespace, podOf("plain", "default")); err != nil || received.take() != "" {
		t.Errorf("got %v, or a warning, for a pod that needs no role", err)
	}
}

func TestGuard_audit(t *testing.T) {
	client := newClient(t)
	applyGuard(t, client, newProbe(t, client), "guard.validationActions={Audit}")
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	number := 0
	eventually(t, "the audit log has a pod without its role", func(ctx context.Context) error {
		number++
		pod := podOf(fmt.Sprintf("app-%d", number), "app")
		if err := dryRun(ctx, client, namespace, pod); err != nil {
			t.Fatalf("got %v, want an audit annotation and no denial", err)
		}
		annotations, err := auditedAnnotations(namespace, pod.Name)
		if err != nil {
			return err
		}
		const key = "validation.policy.admission.k8s.io/validation_failure"
		if !strings.Contains(annotations[key], guardName) || !strings.Contains(annotations[key], "was not injected into: app.") {
			return fmt.Errorf("got audit annotations %v", annotations)
		}
		return nil
	})
}

func TestGuard_scope(t *testing.T) {
	client := newClient(t)
	for _, name := range []string{installed, "kube-system"} {
		if err := controlplane.CreateNamespace(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
	}
	labeled, unlabeled := newNamespace(t, client), newNamespace(t, client)
	label(t, client, labeled, optInLabel, "enabled")
	namespaces := []string{installed, "kube-system", labeled, unlabeled}
	for _, namespace := range namespaces {
		createServiceAccount(t, client, namespace, "guarded")
		t.Cleanup(func() {
			if err := client.CoreV1().ServiceAccounts(namespace).Delete(context.WithoutCancel(t.Context()), "guarded", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	pod := podOf("app", "guarded")
	// The webhook's own namespace may enforce the restricted Pod Security Standard.
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	for mode, guardedNamespaces := range map[string][]string{
		"cluster-wide": {labeled, unlabeled},
		"opt-in":       {labeled},
	} {
		t.Run(mode, func(t *testing.T) {
			guarded(t, client, "mode="+mode)
			for _, namespace := range namespaces {
				if slices.Contains(guardedNamespaces, namespace) {
					waitDenied(t, client, namespace, "guarded")
				}
			}
			for _, namespace := range namespaces {
				err := dryRun(t.Context(), client, namespace, pod)
				if slices.Contains(guardedNamespaces, namespace) != deniedByGuard(err) || err != nil && !deniedByGuard(err) {
					t.Errorf("namespace %s: %v", namespace, err)
				}
			}
		})
	}
}

// TestGuard_excludedPods adds a match condition to the webhook, as an operator can.
func TestGuard_excludedPods(t *testing.T) {
	client := newClient(t)
	guarded(t, client, "extraMatchConditions[0].name=not-batch",
		`extraMatchConditions[0].expression=!object.metadata.name.startsWith('batch-')`)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	waitDenied(t, client, namespace, "app")
	if err := dryRun(t.Context(), client, namespace, podOf("batch-1", "app")); err != nil {
		t.Error(err)
	}
}

// TestGuard_costLimit has more containers and ServiceAccounts than usual. The API server
// denies a request if the evaluation of a policy exceeds its cost limit.
func TestGuard_costLimit(t *testing.T) {
	client := newClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	waitDenied(t, client, namespace, "app")
	pod := podOf("app", "app")
	var names []string
	for i := range 100 {
		container := corev1.Container{Name: fmt.Sprintf("container-%d-%s", i, strings.Repeat("x", 40)), Image: "registry.k8s.io/pause:3.10"}
		for n := range 100 {
			container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", n), Value: strings.Repeat("x", 50)})
		}
		for n := range 20 {
			container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: fmt.Sprintf("/data/%d/%s", n, strings.Repeat("x", 60))})
		}
		names = append(names, container.Name)
		pod.Spec.Containers = append(pod.Spec.Containers, container)
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
	if err := dryRun(t.Context(), client, namespace, pod); !deniedByGuard(err) || !strings.Contains(err.Error(), "not injected into all containers") {
		t.Errorf("got %.500v, want a denial", err)
	}
	pod.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": strings.Join(append(names, "app"), ", ")}
	if err := dryRun(t.Context(), client, namespace, pod); err != nil {
		t.Errorf("with all containers skipped: %.500v", err)
	}
}
