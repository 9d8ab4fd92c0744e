package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Request is what a handler sees of an AdmissionRequest, in the field names of
// admission.k8s.io/v1. Object is the view that the handler needs: most of a request
// is of no interest.
type Request[Object any] struct {
	UID         types.UID               `json:"uid"`
	Kind        metav1.GroupVersionKind `json:"kind"`
	SubResource string                  `json:"subResource"`
	Namespace   string                  `json:"namespace"`
	Operation   admissionv1.Operation   `json:"operation"`
	// Object is nil for a DELETE.
	Object *Object `json:"object"`
	// OldObject is nil for a CREATE.
	OldObject *Object `json:"oldObject"`
}

// Decision is a handler's decision. The response's UID is set by the caller.
type Decision struct {
	Reason   inject.Reason
	Response admissionv1.AdmissionResponse
}

// Handler answers an admission request. An error is not a denial: it becomes an
// HTTP error, upon which the failurePolicy of the webhook's registration
// decides. Return an *httperror.Error to choose the status and the reason; any other is
// an HTTP 500.
type Handler[Object any] func(ctx context.Context, request *Request[Object]) (Decision, error)
