package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWarnings(t *testing.T) {
	client, received := newWarnedClient(t)
	waitRegistered(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	malformed := serviceAccount("malformed", "arn:aws:iam::1:role/x")
	misspelled := serviceAccount("misspelled", "")
	misspelled.Annotations = map[string]string{"eks.amazon.com/role-arn": appRole}
	for _, account := range []*corev1.ServiceAccount{malformed, misspelled} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	annotated := func(annotations ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{}
			for i := 0; i < len(annotations); i += 2 {
				pod.Annotations[annotations[i]] = annotations[i+1]
			}
		}
	}
	tests := []struct {
		name, account string
		change        func(*corev1.Pod)
		want          []string
	}{
		{"nothing", "app", annotated("note", "hello"), nil},
		{"a malformed role", "malformed", annotated(), []string{"role-arn", "arn:aws:iam::1:role/x"}},
		{"a misspelled role", "misspelled", annotated(), []string{"eks.amazon.com/role-arn"}},
		{"a role on the pod", "app", annotated(roleAnnotation, appRole), []string{"ServiceAccount app"}},
		{"an unreadable expiration", "app", annotated("eks.amazonaws.com/token-expiration", "1h"), []string{"1h", "86400"}},
		{"an expiration of more than a day", "app", annotated("eks.amazonaws.com/token-expiration", "90000"), []string{"600..86400"}},
		{"an unknown container", "app", annotated("eks.amazonaws.com/skip-containers", "nobody"), []string{"nobody"}},
		{"a mount at the token's path", "app", func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount"}}
		}, []string{`"data"`}},
		{"an existing identity", "app", func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_ROLE_ARN", Value: secret}}
		}, []string{"AWS_ROLE_ARN"}},
		{"no warning about automountServiceAccountToken", "app", func(pod *corev1.Pod) {
			pod.Spec.AutomountServiceAccountToken = new(false)
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := podOf("app", test.account)
			test.change(pod)
			if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
				t.Fatal(err)
			}
			got := received.take()
			if len(test.want) == 0 && got != "" {
				t.Errorf("got warnings %q, want none", got)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) || !strings.Contains(got, "pod-identity-webhook: ") {
					t.Errorf("got warnings %q, want %q in them", got, want)
				}
			}
			for line := range strings.SplitSeq(got, "\n") {
				if len([]rune(line)) > 120 {
					t.Errorf("got a warning of %d characters: %s", len([]rune(line)), line)
				}
			}
		})
	}
}

func TestAuditLog(t *testing.T) {
	client := newClient(t)
	waitRegistered(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	for _, account := range []string{"app", "default"} {
		if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf(account, account), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const webhook = "pod-identity-webhook.amazonaws.com/"
	for pod, want := range map[string]map[string]string{
		"app":     {"reason": "injected", "role-arn": appRole, "audience": "sts.amazonaws.com", "containers": "app"},
		"default": {"reason": "no_role"},
	} {
		eventually(t, "the audit log has pod "+pod, func(context.Context) error {
			annotations, err := auditedAnnotations(namespace, pod)
			if err != nil {
				return err
			}
			for key, value := range want {
				if annotations[webhook+key] != value {
					return fmt.Errorf("annotation %s: got %q, want %q", key, annotations[webhook+key], value)
				}
			}
			return nil
		})
	}
}

// auditedAnnotations returns the audit annotations of a pod's creation.
func auditedAnnotations(namespace, pod string) (map[string]string, error) {
	log, err := os.ReadFile(auditLog)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(log)) {
		var event struct {
			Annotations map[string]string
			ObjectRef   struct{ Namespace, Name string }
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if event.ObjectRef.Namespace == namespace && event.ObjectRef.Name == pod {
			return event.Annotations, nil
		}
	}
	return nil, errors.New("the audit log does not have the pod")
}
