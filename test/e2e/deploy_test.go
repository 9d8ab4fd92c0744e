package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/localwebhook"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

// TestTheManifestIsAcceptedAndItsRightsSuffice applies what the README says to
// apply, and runs the webhook with no more rights than that grants.
func TestTheManifestIsAcceptedAndItsRightsSuffice(t *testing.T) {
	client := newClient(t)
	t.Cleanup(func() {
		ctx, configurations := context.WithoutCancel(t.Context()), client.AdmissionregistrationV1()
		if err := errors.Join(
			configurations.MutatingWebhookConfigurations().Delete(ctx, installed, metav1.DeleteOptions{}),
			configurations.ValidatingWebhookConfigurations().Delete(ctx, installed, metav1.DeleteOptions{}),
		); err != nil {
			t.Error(err)
		}
	})
	if _, err := manifest.Apply(t.Context(), cluster.Config(), repository.Path("deploy", "webhook.yaml")); err != nil {
		t.Fatal(err)
	}

	deployment, err := client.AppsV1().Deployments(installed).Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Its namespace enforces the restricted Pod Security Standard.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "replica"}, Spec: deployment.Spec.Template.Spec}
	pod.Spec.PriorityClassName = "" // the class system-cluster-critical is made by a controller manager
	if _, err := client.CoreV1().Pods(installed).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("a pod of the Deployment: %v", err)
	}

	minted, err := client.CoreV1().ServiceAccounts(installed).CreateToken(t.Context(), installed,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	webhook, err := localwebhook.Start(t.Context(), localwebhook.Options{
		Binary: os.Getenv("WEBHOOK"), Kubeconfig: kubeconfigOf(t, minted.Status.Token), Dir: t.TempDir(),
		Args: []string{"--watch-config-map", "--namespace=" + installed},
	})
	if err != nil {
		t.Fatalf("the webhook does not become ready with its own rights: %v", err)
	}
	t.Cleanup(webhook.Kill)
	writeMapping(t, client, installed, "no JSON")
	eventually(t, "the fault is told on the ConfigMap", func(ctx context.Context) error {
		return oneEvent(ctx, client, installed)
	})
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	for _, account := range []string{"app", "default"} {
		got, err := ask(t.Context(), webhook, webhook.Client(), 10*time.Second, reviewOf(namespace, account))
		if err != nil || got.status != http.StatusOK {
			t.Errorf("ServiceAccount %s: HTTP %d %s %v", account, got.status, got.body, err)
		}
	}
}

// kubeconfigOf returns the path of a kubeconfig with the rights of a token.
func kubeconfigOf(t *testing.T, token string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["cluster"] = &clientcmdapi.Cluster{Server: cluster.Config().Host, CertificateAuthorityData: cluster.CABundle()}
	config.AuthInfos["token"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["token"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: "token"}
	config.CurrentContext = "token"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(fmt.Errorf("write kubeconfig: %w", err))
	}
	return path
}
