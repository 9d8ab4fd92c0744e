package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const mappedRole = "arn:aws:iam::111122223333:role/mapped"

// startAsKOps starts the webhook with the flags that kOps uses for the reference. As in
// kOps, the webhook configuration has only the version v1beta1.
func startAsKOps(t *testing.T, client kubernetes.Interface, namespace string) *webhookprocess.Webhook {
	t.Helper()
	return registeredAs(t, client, webhookprocess.RegisterOptions{ReviewVersions: []string{"v1beta1"}},
		"--in-cluster=false", "--namespace="+namespace, "--watch-config-map",
		"--token-audience=amazonaws.com", "--logtostderr", "--v=5")
}

func writeMapping(t *testing.T, client kubernetes.Interface, namespace, content string) {
	t.Helper()
	maps := client.CoreV1().ConfigMaps(namespace)
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "pod-identity-webhook"}, Data: map[string]string{"config": content},
	}
	_, err := maps.Update(t.Context(), configMap, metav1.UpdateOptions{})
	if err != nil {
		_, err = maps.Create(t.Context(), configMap, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantRole waits until new pods of a ServiceAccount have the role, or no role if it is
// empty.
func wantRole(t *testing.T, client kubernetes.Interface, namespace, account, role string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a pod of %s/%s has role %q", namespace, account, role), func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(namespace).Create(ctx, podOf("probe", account), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if got := roleOf(pod); got != role {
			return fmt.Errorf("got role %q", got)
		}
		return nil
	})
}

func TestKOps(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	other := newNamespace(t, client)
	webhook := startAsKOps(t, client, namespace)
	createServiceAccount(t, client, namespace, "annotated")
	createAccountWithout(t, client, namespace, "mapped", "wild", "unmapped")
	createAccountWithout(t, client, other, "mapped", "wild")

	good := fmt.Sprintf(`{
		"%[1]s/mapped": {"RoleARN": %[2]q, "Audience": "", "UseRegionalSTS": false, "TokenExpiration": 0},
		"%[1]s/annotated": {"RoleARN": %[2]q},
		"*/wild": {"RoleARN": "%[2]s-anywhere"},
		"%[3]s-*/wild": {"RoleARN": "%[2]s-here"}
	}`, namespace, mappedRole, namespace[:len(namespace)-5])
	writeMapping(t, client, namespace, good)
	wantRole(t, client, namespace, "mapped", mappedRole)
	wantRole(t, client, namespace, "annotated", appRole)
	wantRole(t, client, namespace, "unmapped", "")
	wantRole(t, client, other, "mapped", "")
	wantRole(t, client, other, "wild", mappedRole+"-anywhere")

	for name, bad := range map[string]struct{ content, mapped, wild string }{
		"a key without a slash": {strings.Replace(good, namespace+"/mapped", "no-slash", 1), "", mappedRole + "-anywhere"},
		"a null entry":          {fmt.Sprintf(`{"%s/mapped": null, "*/wild": {"RoleARN": "%s-alone"}}`, namespace, mappedRole), "", mappedRole + "-alone"},
		"invalid JSON":          {"{", mappedRole, mappedRole + "-anywhere"},
	} {
		t.Run(name, func(t *testing.T) {
			writeMapping(t, client, namespace, bad.content)
			eventually(t, "the ConfigMap has an event about the error", func(ctx context.Context) error {
				return oneEvent(ctx, client, namespace)
			})
			wantRole(t, client, namespace, "mapped", bad.mapped)
			wantRole(t, client, namespace, "wild", bad.wild)
			writeMapping(t, client, namespace, strings.ReplaceAll(good, mappedRole, mappedRole+"-new"))
			wantRole(t, client, namespace, "mapped", mappedRole+"-new")
			writeMapping(t, client, namespace, good)
			wantRole(t, client, namespace, "mapped", mappedRole)
		})
	}
	log, err := webhook.Logs()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, "no-slash") {
		t.Error("the log does not contain the invalid key")
	}

	if err := client.CoreV1().ConfigMaps(namespace).Delete(t.Context(), "pod-identity-webhook", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRole(t, client, namespace, "mapped", "")
}

// TestConfigMap_undecodableAtStart requires that a replica that has decoded no
// mapping yet becomes ready and injects the roles of annotations.
func TestConfigMap_undecodableAtStart(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "annotated")
	createAccountWithout(t, client, namespace, "mapped")
	writeMapping(t, client, namespace, "{")
	webhook := startAsKOps(t, client, namespace)
	wantMetric(t, webhook, "pod_identity_webhook_config_map_last_load_successful 0")
	wantRole(t, client, namespace, "annotated", appRole)
	wantRole(t, client, namespace, "mapped", "")
	writeMapping(t, client, namespace, fmt.Sprintf(`{"%s/mapped": {"RoleARN": %q}, "no-slash": {}}`, namespace, mappedRole))
	wantRole(t, client, namespace, "mapped", mappedRole)
	wantMetric(t, webhook, "pod_identity_webhook_config_map_last_load_successful 1")
	wantMetric(t, webhook, "pod_identity_webhook_config_map_invalid_entries 1")
}

// oneEvent returns nil if the current version of the ConfigMap has exactly one event.
func oneEvent(ctx context.Context, client kubernetes.Interface, namespace string) error {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, "pod-identity-webhook", metav1.GetOptions{})
	if err != nil {
		return err
	}
	events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	found := 0
	for _, event := range events.Items {
		if event.InvolvedObject.ResourceVersion == configMap.ResourceVersion && event.Type == corev1.EventTypeWarning {
			found++
		}
	}
	if found != 1 {
		return fmt.Errorf("got %d events, want 1", found)
	}
	return nil
}

func createAccountWithout(t *testing.T, client kubernetes.Interface, namespace string, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount(name, ""), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
