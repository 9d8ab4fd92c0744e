package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-faster/jx"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// writeReply writes an AdmissionReview with a response. It is encoded first, so that
// an answer is whole or an error.
func writeReply(w http.ResponseWriter, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) error {
	body := takeBuffer()
	defer giveBack(body)
	var e jx.Encoder
	e.SetBytes(body.AvailableBuffer())
	if err := encodeReply(&e, typeMeta, response); err != nil {
		return fmt.Errorf("encode AdmissionReview: %w", err)
	}
	// It is in the buffer's memory already, unless that was too small.
	body.Write(e.Bytes())
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	// Who does not take his answer has room that others wait for.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	// A failed write means that the caller has gone; there is nobody to tell.
	_, _ = w.Write(body.Bytes())
	return nil
}

// encodeReply has all fields of a response. By reflection it would take several times
// as long, most of it to find out that most fields are empty; only a denial's status,
// which is rare, is encoded so.
func encodeReply(e *jx.Encoder, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) error {
	e.ObjStart()
	skim.WriteField(e, "kind", typeMeta.Kind)
	skim.WriteField(e, "apiVersion", typeMeta.APIVersion)
	e.FieldStart("response")
	e.ObjStart()
	skim.WriteField(e, "uid", string(response.UID))
	e.FieldStart("allowed")
	e.Bool(response.Allowed)
	if response.Result != nil {
		status, err := json.Marshal(response.Result)
		if err != nil {
			return err
		}
		e.FieldStart("status")
		e.Raw(status)
	}
	if response.Patch != nil {
		e.FieldStart("patch")
		e.Base64(response.Patch)
	}
	if response.PatchType != nil {
		skim.WriteField(e, "patchType", string(*response.PatchType))
	}
	if len(response.AuditAnnotations) > 0 {
		e.FieldStart("auditAnnotations")
		e.ObjStart()
		for key, value := range response.AuditAnnotations {
			skim.WriteField(e, key, value)
		}
		e.ObjEnd()
	}
	if len(response.Warnings) > 0 {
		e.FieldStart("warnings")
		e.ArrStart()
		for _, warning := range response.Warnings {
			skim.WriteText(e, warning)
		}
		e.ArrEnd()
	}
	e.ObjEnd()
	e.ObjEnd()
	return nil
}
