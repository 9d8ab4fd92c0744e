package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Request is what a handler sees of an AdmissionRequest, in the field names of
// admission.k8s.io/v1. Object is the view that the handler needs: most of a request
// is of no interest.
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

// view is what the body of a request has as its object. read reads it.
type view[Object any] interface {
	*Object
	Read(r *jsonreader.Reader)
}

func readRequest[Object any, View view[Object]](q *Request[Object], r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "uid":
			q.UID = types.UID(r.String())
		case "kind":
			readKind(&q.Kind, r)
		case "subResource":
			q.SubResource = r.String()
		case "namespace":
			q.Namespace = r.String()
		case "operation":
			q.Operation = admissionv1.Operation(r.String())
		case "object":
			q.Object = readObject[Object, View](r)
		case "oldObject":
			q.OldObject = readObject[Object, View](r)
		}
	}
}

func readObject[Object any, View view[Object]](r *jsonreader.Reader) *Object {
	return jsonreader.Pointer(r, func(object *Object, r *jsonreader.Reader) { View(object).Read(r) })
}

func readKind(kind *metav1.GroupVersionKind, r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "group":
			kind.Group = r.String()
		case "version":
			kind.Version = r.String()
		case "kind":
			kind.Kind = r.String()
		}
	}
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
