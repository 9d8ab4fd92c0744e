package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// Request is what a handler sees of an AdmissionRequest, in the field names of
// admission.k8s.io/v1. The object is read as the view that the handler needs in
// the same pass as the rest: most of a request is of no interest.
type Request[Object any] struct {
	UID         types.UID
	Kind        metav1.GroupVersionKind
	SubResource string
	Namespace   string
	Operation   admissionv1.Operation
	// Object is nil for a DELETE.
	Object *Object
	// OldObject is nil for a CREATE.
	OldObject *Object
}

func (q *Request[Object]) read(r *skim.Reader, object View[Object]) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "uid":
			q.UID = types.UID(r.Text())
		case "kind":
			readKind(&q.Kind, r)
		case "subResource":
			q.SubResource = r.Text()
		case "namespace":
			q.Namespace = r.Text()
		case "operation":
			q.Operation = admissionv1.Operation(r.Text())
		case "object":
			q.Object = skim.Pointer(r, object)
		case "oldObject":
			q.OldObject = skim.Pointer(r, object)
		}
	}
}

func readKind(kind *metav1.GroupVersionKind, r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "group":
			kind.Group = r.Text()
		case "version":
			kind.Version = r.Text()
		case "kind":
			kind.Kind = r.Text()
		}
	}
}

// View reads what a handler needs of an object.
type View[Object any] = func(*Object, *skim.Reader)

// Answer is a handler's decision. The response's UID is set by the caller.
type Answer struct {
	Reason   inject.Reason
	Response admissionv1.AdmissionResponse
}

// Handler answers an admission request. An error is not a denial: it becomes an
// HTTP error, upon which the failurePolicy of the webhook's registration
// decides. Return an *Error to choose the status and the reason; any other is
// an HTTP 500.
type Handler[Object any] func(ctx context.Context, request *Request[Object]) (Answer, error)
