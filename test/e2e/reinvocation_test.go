package e2e_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sidecarInjector is a second webhook that adds a container to each pod without it.
func sidecarInjector(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if !strings.Contains(string(review.Request.Object.Raw), `"name":"sidecar"`) {
		review.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
		review.Response.Patch = []byte(`[{"op":"add","path":"/spec/containers/0","value":{"name":"sidecar","image":"registry.k8s.io/pause:3.10"}}]`)
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func TestReinvocation(t *testing.T) {
	client := newClient(t)
	webhook := waitRegistered(t, client)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")

	second := httptest.NewTLSServer(http.HandlerFunc(sidecarInjector))
	t.Cleanup(second.Close)
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		// The API server calls webhooks in the order of their configurations' names.
		ObjectMeta: metav1.ObjectMeta{Name: "z-after-ours"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "sidecar.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      new(second.URL),
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: second.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), "z-after-ours", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	var pod *corev1.Pod
	eventually(t, "both webhooks are called", func(ctx context.Context) error {
		var err error
		pod, err = client.CoreV1().Pods(namespace).Create(ctx, podOf("app", "app"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(pod.Spec.Containers) != 2 {
			err = errors.New("no sidecar")
		}
		return err
	})
	for i, container := range pod.Spec.Containers {
		one := pod.DeepCopy()
		one.Spec.Containers = pod.Spec.Containers[i : i+1]
		if roleOf(one) != appRole {
			t.Errorf("container %s has no role", container.Name)
		}
		seen := map[string]bool{}
		for _, variable := range container.Env {
			if seen[variable.Name] {
				t.Errorf("container %s has %s twice", container.Name, variable.Name)
			}
			seen[variable.Name] = true
		}
		mounts := 0
		for _, mount := range container.VolumeMounts {
			if mount.Name == "aws-iam-token" {
				mounts++
			}
		}
		if mounts != 1 {
			t.Errorf("container %s mounts the token %d times", container.Name, mounts)
		}
	}
	wantMetric(t, webhook, "pod_identity_webhook_panics_total 0")
}
