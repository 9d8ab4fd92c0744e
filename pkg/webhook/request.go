package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Request is the part of an AdmissionRequest that handlers need, with the field names of
// admission.k8s.io/v1. Object is the part of the object that the handler needs.
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

// view is a pointer to the part of an object that a handler needs. Read reads it.
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

// Decision is the decision of a handler. The caller sets the UID of the response.
type Decision struct {
	Reason   inject.Reason
	Response admissionv1.AdmissionResponse
}

// Handler handles an admission request. An error is not a denial: it becomes an HTTP
// error, and the failurePolicy of the webhook configuration applies. Return an
// *httperror.Error to choose the status and the reason; any other error becomes HTTP 500.
type Handler[Object any] func(ctx context.Context, request *Request[Object]) (Decision, error)
