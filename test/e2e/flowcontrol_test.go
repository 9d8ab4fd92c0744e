package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// TestImageOnlyFlowControl_matchesAllRequests applies the manifest for users who replace
// only the image of the reference's installation. The API server's responses contain
// the UID of the FlowSchema that it assigned to a request.
func TestImageOnlyFlowControl_matchesAllRequests(t *testing.T) {
	client := newClient(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "pod-identity-webhook"}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	objects, err := manifest.Apply(t.Context(), cluster.Config(), repopath.Path("deploy", "kustomize", "image-only", "flowcontrol.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := manifest.Delete(ctx, cluster.Config(), objects); err != nil {
			t.Error(err)
		}
		if err := client.CoreV1().ServiceAccounts("default").Delete(ctx, account.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	schema, err := client.FlowcontrolV1().FlowSchemas().Get(t.Context(), "irsa-pod-identity-webhook", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := cluster.ServiceAccountConfig(t.Context(), "default", account.Name)
	if err != nil {
		t.Fatal(err)
	}
	asWebhook, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer asWebhook.CloseIdleConnections()
	for name, path := range map[string]string{
		"read of a ServiceAccount":        "/api/v1/namespaces/default/serviceaccounts/default",
		"list of ServiceAccounts":         "/api/v1/serviceaccounts",
		"watch of ServiceAccounts":        "/api/v1/serviceaccounts?watch=true&timeoutSeconds=1",
		"read of a Namespace":             "/api/v1/namespaces/default",
		"read of a webhook configuration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/any",
		"read of a Secret":                "/api/v1/namespaces/default/secrets/any",
		"request for a non-resource path": "/version",
	} {
		t.Run(name, func(t *testing.T) {
			// The API server applies a new FlowSchema after a moment.
			eventually(t, "the API server assigns the request to the FlowSchema", func(ctx context.Context) error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
				if err != nil {
					return err
				}
				response, err := asWebhook.Do(request)
				if err != nil {
					return err
				}
				defer response.Body.Close()
				if got := response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); got != string(schema.UID) {
					return fmt.Errorf("got FlowSchema %q, want %q", got, schema.UID)
				}
				return nil
			})
		})
	}
}
