package webhook

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// writeReply writes an AdmissionReview with a response. It is encoded first, so that
// an answer is whole or an error.
func writeReply(w http.ResponseWriter, r *http.Request, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) error {
	buffer := takeBuffer()
	defer giveBack(buffer)
	body, err := appendReply(buffer.AvailableBuffer(), typeMeta, response)
	if err != nil {
		return fmt.Errorf("encode AdmissionReview: %w", err)
	}
	// Most are in the buffer's memory already; a large one is not, and makes it larger.
	buffer.Write(body)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(buffer.Len()))
	// Who does not take his answer has room that others wait for.
	defer endAfter(writeTimeout, r, http.NewResponseController(w).SetWriteDeadline)()
	// A failed write means that the caller has gone; there is nobody to tell.
	_, _ = w.Write(buffer.Bytes())
	return nil
}

// appendReply writes all fields of a response. An encoder that finds them by
// reflection takes several times as long, most of it for those that are empty; only a
// denial's status, which is rare, is left to one. See docs/decisions/0013-hot-path.md.
func appendReply(to []byte, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) ([]byte, error) {
	to = skim.AppendText(to, `{"kind":`, typeMeta.Kind)
	to = skim.AppendText(to, `,"apiVersion":`, typeMeta.APIVersion)
	to = skim.AppendText(to, `,"response":{"uid":`, string(response.UID))
	to = strconv.AppendBool(append(to, `,"allowed":`...), response.Allowed)
	if response.Result != nil {
		status, err := json.Marshal(response.Result)
		if err != nil {
			return nil, err
		}
		to = append(append(to, `,"status":`...), status...)
	}
	if response.Patch != nil {
		to = base64.StdEncoding.AppendEncode(append(to, `,"patch":"`...), response.Patch)
		to = append(to, '"')
	}
	if response.PatchType != nil {
		to = skim.AppendText(to, `,"patchType":`, string(*response.PatchType))
	}
	if len(response.AuditAnnotations) > 0 {
		before := `,"auditAnnotations":{`
		for key, value := range response.AuditAnnotations {
			to = skim.AppendText(skim.AppendText(to, before, key), ":", value)
			before = ","
		}
		to = append(to, '}')
	}
	if len(response.Warnings) > 0 {
		before := `,"warnings":[`
		for _, warning := range response.Warnings {
			to = skim.AppendText(to, before, warning)
			before = ","
		}
		to = append(to, ']')
	}
	return append(to, "}}"...), nil
}
