package webhook

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// usualReplyBytes is what an answer has beside its patch, but for long warnings.
const usualReplyBytes = 1 << 10

// writeReply writes an AdmissionReview with a response.
func writeReply(w http.ResponseWriter, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) {
	buffer := takeBuffer()
	// Most of it is the patch; the rest is as long as in usual answers.
	buffer.Grow(base64.StdEncoding.EncodedLen(len(response.Patch)) + usualReplyBytes)
	body := appendReply(buffer.AvailableBuffer(), typeMeta, response)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	// Who does not take his answer has room that others wait for.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(body); err == nil { //nolint:gosec // JSON for an API server, and no page
		// After an error, which means that the caller has gone and that there is nobody
		// to tell, a goroutine of the connection may still look at it.
		giveBack(buffer)
	}
}

// appendReply writes all fields of a response, and of a denial's status those that are
// set here. An encoder that finds them by reflection takes several times as long, most
// of it for those that are empty. See docs/decisions/0013-hot-path.md.
func appendReply(to []byte, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) []byte {
	to = skim.AppendText(to, `{"kind":`, typeMeta.Kind)
	to = skim.AppendText(to, `,"apiVersion":`, typeMeta.APIVersion)
	to = skim.AppendText(to, `,"response":{"uid":`, string(response.UID))
	to = strconv.AppendBool(append(to, `,"allowed":`...), response.Allowed)
	if response.Result != nil {
		to = skim.AppendText(to, `,"status":{"metadata":{},"status":`, response.Result.Status)
		to = skim.AppendText(to, `,"message":`, response.Result.Message)
		to = skim.AppendText(to, `,"reason":`, string(response.Result.Reason))
		to = strconv.AppendInt(append(to, `,"code":`...), int64(response.Result.Code), 10)
		to = append(to, '}')
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
	return append(to, "}}"...)
}
