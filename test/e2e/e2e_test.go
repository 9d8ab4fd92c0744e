// Package e2e_test runs the built webhook as a process with a real API server and
// checks the objects that the API server stores.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	roleAnnotation = "eks.amazonaws.com/role-arn"
	appRole        = "arn:aws:iam::111122223333:role/app"
	// clients is the number of concurrent clients in tests under load.
	clients = 16
	// patience is the time limit of eventually.
	patience = time.Minute
)

// cluster is the control plane that all tests share; they run one after the other.
var cluster *controlplane.ControlPlane

// auditLog is the file of the API server's audit log, with the creations of pods.
var auditLog string

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create]
    resources: [{resources: [pods]}]
`

func TestMain(m *testing.M) {
	os.Exit(controlplane.RunTests(auditFlags, func(shared *controlplane.ControlPlane) (int, error) {
		cluster = shared
		return m.Run(), nil
	}))
}

// auditFlags returns the flags with which the API server writes auditLog.
func auditFlags(dir string) ([]string, error) {
	auditLog = filepath.Join(dir, "audit.log")
	policy := filepath.Join(dir, "audit-policy.yaml")
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + auditLog}, os.WriteFile(policy, []byte(auditPolicy), 0o600)
}

func newClient(t testing.TB) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// startWebhook starts a webhook that runs until the end of the test. The test fails if
// the webhook has a data race or a panic, or logs a secret.
func startWebhook(t *testing.T, args ...string) *webhookprocess.Webhook {
	t.Helper()
	return startWebhookOf(t, webhookprocess.Options{Cluster: cluster, Args: args})
}

// startWebhookOf is startWebhook with options. It sets those that are the same for all tests.
func startWebhookOf(t *testing.T, options webhookprocess.Options) *webhookprocess.Webhook {
	t.Helper()
	options.Binary, options.Dir = os.Getenv("WEBHOOK"), t.TempDir()
	options.Args = append([]string{"--shutdown-delay=0s", "-v=4"}, options.Args...)
	webhook, err := webhookprocess.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		webhook.Kill()
		log, err := webhook.Logs()
		if err != nil {
			t.Error(err)
		}
		for _, never := range []string{"DATA RACE", "goroutine ", secret} {
			if strings.Contains(log, never) {
				t.Errorf("the webhook logged %q", never)
			}
		}
		if t.Failed() {
			t.Logf("last lines of the webhook's log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	return webhook
}

// secret is an environment value of the pods in these tests. No log may contain it.
const secret = "hunter2-correct-horse"

// waitRegistered starts a webhook with failurePolicy Fail and waits until the API
// server calls it.
func waitRegistered(t *testing.T, client kubernetes.Interface) *webhookprocess.Webhook {
	t.Helper()
	return registeredAs(t, client, webhookprocess.RegisterOptions{})
}

func registeredAs(t *testing.T, client kubernetes.Interface, registration webhookprocess.RegisterOptions, args ...string) *webhookprocess.Webhook {
	t.Helper()
	webhook := startWebhook(t, args...)
	if err := webhook.Register(t.Context(), client, registration); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		if err := configurations.Delete(context.WithoutCancel(t.Context()), webhookprocess.ConfigurationName, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return webhook
}

func newNamespace(t testing.TB, client kubernetes.Interface) string {
	t.Helper()
	name := fmt.Sprintf("e2e-%d", time.Now().UnixNano())
	if err := controlplane.CreateNamespace(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func serviceAccount(name, role string) *corev1.ServiceAccount {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if role != "" {
		account.Annotations = map[string]string{roleAnnotation: role}
	}
	return account
}

func podOf(name, serviceAccount string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: serviceAccount,
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.k8s.io/pause:3.10",
				Env: []corev1.EnvVar{{Name: "PASSWORD", Value: secret}},
			}},
		},
	}
}

// roleOf returns the role of a pod's first container, or an empty string if another
// part of its identity is missing.
func roleOf(pod *corev1.Pod) string {
	env := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		env[variable.Name] = variable.Value
	}
	mounted := false
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		mounted = mounted || mount.Name == "aws-iam-token"
	}
	if env["AWS_WEB_IDENTITY_TOKEN_FILE"] == "" || !mounted || len(pod.Spec.Volumes) == 0 || pod.Spec.Volumes[0].Name != "aws-iam-token" {
		return ""
	}
	return env["AWS_ROLE_ARN"]
}

// eventually waits until condition returns nil.
func eventually(t testing.TB, what string, condition func(context.Context) error) {
	t.Helper()
	within(t, patience, what, condition)
}

// within waits until condition returns nil, with a time limit.
func within(t testing.TB, patience time.Duration, what string, condition func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		// A deadline error would hide the cause.
		if err := condition(ctx); err == nil || last == nil || ctx.Err() == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}
