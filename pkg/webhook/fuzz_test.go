package webhook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// FuzzMutate sends any body. The response must be an error with a message, or a review that
// an API server accepts. A panic would be HTTP 500.
func FuzzMutate(f *testing.F) {
	for _, pod := range []*corev1.Pod{smallPod(), cloudWatchAgentPod(), podWith()} {
		f.Add(reviewOf(pod))
	}
	f.Add(reviewWith(smallPod(), func(r *admissionv1.AdmissionReview) { r.APIVersion = "admission.k8s.io/v1beta1" }))
	f.Add(reviewWith(smallPod(), func(r *admissionv1.AdmissionReview) { r.Request.Object.Raw = []byte("null") }))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"kind":{"kind":"Pod"},"operation":"CREATE","object":{"spec":{"serviceAccountName":"a","containers":[{},null]}}}}`))
	f.Add([]byte(`{"request":{`))
	handler := newHandler(role, io.Discard)
	f.Fuzz(func(t *testing.T, body []byte) {
		response := post(handler, "application/json", bytes.NewReader(body))
		switch response.Code {
		case http.StatusBadRequest:
			if response.Body.Len() == 0 {
				t.Error("got an error without a message")
			}
		case http.StatusOK:
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(response.Body.Bytes(), &review); err != nil {
				t.Fatalf("invalid review in the response: %v", err)
			}
			hasPatch := len(review.Response.Patch) > 0
			if hasType := review.Response.PatchType != nil; hasPatch != hasType {
				t.Errorf("got patch %t, patchType %t; an API server rejects that", hasPatch, hasType)
			}
			if hasPatch && !json.Valid(review.Response.Patch) {
				t.Errorf("invalid JSON in the patch: %s", review.Response.Patch)
			}
		default:
			t.Errorf("HTTP %d: %s", response.Code, response.Body)
		}
	})
}
