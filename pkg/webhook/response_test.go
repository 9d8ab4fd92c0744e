package webhook

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWriteResponse sets all fields of a response, so that the test fails if the API gets
// another one.
func TestWriteResponse(t *testing.T) {
	full := admissionv1.AdmissionResponse{
		UID: `a "uid"`, Allowed: true,
		Result:           &metav1.Status{Status: metav1.StatusFailure, Code: 403, Message: "<no>\n", Reason: metav1.StatusReasonForbidden},
		Patch:            []byte(`[{"op":"add"}]`),
		PatchType:        new(admissionv1.PatchTypeJSONPatch),
		AuditAnnotations: map[string]string{"reason": "injected", `"key"`: "value\\"},
		Warnings:         []string{"first", `"second"` + "\u2028"},
	}
	for field, value := range reflect.ValueOf(full).Fields() {
		if value.IsZero() {
			t.Errorf("%s is not tested", field.Name)
		}
	}
	typeMeta := metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1"}
	for name, response := range map[string]admissionv1.AdmissionResponse{"full": full, "empty": {}} {
		recorder := httptest.NewRecorder()
		writeResponse(recorder, typeMeta, &response)
		got := admissionv1.AdmissionReview{}
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, recorder.Body)
		}
		want := admissionv1.AdmissionReview{TypeMeta: typeMeta, Response: &response}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s is read as\n%+v\nwant\n%+v", name, recorder.Body, got.Response, want.Response)
		}
	}
}

// TestWriteResponse_invalidUTF8: annotation values are written by users.
func TestWriteResponse_invalidUTF8(t *testing.T) {
	recorder := httptest.NewRecorder()
	response := admissionv1.AdmissionResponse{Warnings: []string{"\xff\xfe"}, AuditAnnotations: map[string]string{"role-arn": "a\x00\xff"}}
	writeResponse(recorder, metav1.TypeMeta{}, &response)
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Response.Warnings[0] != "\ufffd\ufffd" || got.Response.AuditAnnotations["role-arn"] != "a\x00\ufffd" {
		t.Errorf("%q", recorder.Body)
	}
}
