package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// reviewOf returns the AdmissionReview of a pod of a ServiceAccount. It contains fields
// that are in no released API version.
func reviewOf(namespace, serviceAccount string) []byte {
	return fmt.Appendf(nil, `{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "fromTheFuture": 1,
		"request": {
			"uid": "a-uid", "operation": "CREATE", "namespace": %q, "fromTheFuture": {"a": [1]},
			"kind": {"group": "", "version": "v1", "kind": "Pod"},
			"resource": {"group": "", "version": "v1", "resource": "pods"},
			"object": %s
		}
	}`, namespace, podFromTheFuture(serviceAccount))
}

func podFromTheFuture(serviceAccount string) []byte {
	return fmt.Appendf(nil, `{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": {"name": "app", "fromTheFuture": true},
		"spec": {
			"serviceAccountName": %q, "fromTheFuture": [{"a": 1}],
			"volumes": [{"name": "data", "emptyDir": {}, "fromTheFuture": 2}],
			"containers": [{
				"name": "app", "image": "x", "fromTheFuture": {"b": 1.50},
				"env": [{"name": "A", "value": "a", "fromTheFuture": null}],
				"volumeMounts": [{"name": "data", "mountPath": "/data", "fromTheFuture": "3"}]
			}]
		}
	}`, serviceAccount)
}

// answer is the webhook's response to a review that the test sends directly.
type answer struct {
	status int
	body   string
	review admissionv1.AdmissionReview
}

func ask(ctx context.Context, webhook *webhookprocess.Webhook, client *http.Client, timeout time.Duration, review []byte) (answer, error) {
	// The client has the API server's timeout.
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	url := fmt.Sprintf("%s/mutate?timeout=%s", webhook.URL(), timeout)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(review))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if response.ProtoMajor != 1 {
		return answer{}, fmt.Errorf("got response over %s, want HTTP/1.1", response.Proto)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{status: response.StatusCode, body: string(body)}
	if got.status == http.StatusOK {
		err = json.Unmarshal(body, &got.review)
	}
	return got, err
}

func TestUnknownFields(t *testing.T) {
	client := newClient(t)
	webhook := startWebhook(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")

	got, err := ask(t.Context(), webhook, webhook.Client(), 10*time.Second, reviewOf(namespace, "app"))
	if err != nil || got.status != http.StatusOK {
		t.Fatalf("got HTTP %d: %s, error %v", got.status, got.body, err)
	}
	patch, err := jsonpatch.DecodePatch(got.review.Response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if len(patch) == 0 {
		t.Fatal("the response has no patch")
	}
	for _, operation := range patch {
		if operation.Kind() != "add" {
			t.Errorf("the patch has operations other than add: %s", got.review.Response.Patch)
		}
	}
	patched, err := patch.Apply(podFromTheFuture("app"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		`"metadata":{"name":"app","fromTheFuture":true}`, `"fromTheFuture":[{"a":1}]`,
		`"fromTheFuture":{"b":1.50}`, `{"name":"A","value":"a","fromTheFuture":null}`,
		`{"name":"data","emptyDir":{},"fromTheFuture":2}`, `{"name":"data","mountPath":"/data","fromTheFuture":"3"}`,
	} {
		if !bytes.Contains(compact(t, patched), []byte(field)) {
			t.Errorf("field %s is missing in %s", field, patched)
		}
	}
}

func compact(t *testing.T, document []byte) []byte {
	t.Helper()
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, document); err != nil {
		t.Fatal(err)
	}
	return compacted.Bytes()
}
