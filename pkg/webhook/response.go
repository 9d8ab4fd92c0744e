package webhook

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// usualResponseBytes is the usual size of a response without its patch.
const usualResponseBytes = 1 << 10

// writeResponse writes an AdmissionReview with the response.
func writeResponse(w http.ResponseWriter, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) {
	buffer := getBuffer()
	buffer.Grow(base64.StdEncoding.EncodedLen(len(response.Patch)) + usualResponseBytes)
	body := appendResponse(buffer.AvailableBuffer(), typeMeta, response)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	// A client that does not read its response blocks memory that other requests need.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(body); err == nil { //nolint:gosec // JSON for an API server, not a page
		// After an error, a goroutine of the connection can still read the body.
		putBuffer(buffer)
	}
}

// appendResponse appends an AdmissionReview with all fields of a response. Of the status
// of a denial, it appends only the fields that this package sets. A library that uses
// reflection takes several times as long. See docs/decisions/0013-hot-path.md.
func appendResponse(to []byte, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) []byte {
	to = appendText(to, `{"kind":`, typeMeta.Kind)
	to = appendText(to, `,"apiVersion":`, typeMeta.APIVersion)
	to = appendText(to, `,"response":{"uid":`, string(response.UID))
	to = strconv.AppendBool(append(to, `,"allowed":`...), response.Allowed)
	if response.Result != nil {
		to = appendText(to, `,"status":{"metadata":{},"status":`, response.Result.Status)
		to = appendText(to, `,"message":`, response.Result.Message)
		to = appendText(to, `,"reason":`, string(response.Result.Reason))
		to = strconv.AppendInt(append(to, `,"code":`...), int64(response.Result.Code), 10)
		to = append(to, '}')
	}
	if response.Patch != nil {
		to = base64.StdEncoding.AppendEncode(append(to, `,"patch":"`...), response.Patch)
		to = append(to, '"')
	}
	if response.PatchType != nil {
		to = appendText(to, `,"patchType":`, string(*response.PatchType))
	}
	if len(response.AuditAnnotations) > 0 {
		before := `,"auditAnnotations":{`
		for key, value := range response.AuditAnnotations {
			to = appendText(appendText(to, before, key), ":", value)
			before = ","
		}
		to = append(to, '}')
	}
	if len(response.Warnings) > 0 {
		before := `,"warnings":[`
		for _, warning := range response.Warnings {
			to = appendText(to, before, warning)
			before = ","
		}
		to = append(to, ']')
	}
	return append(to, "}}"...)
}

// appendText appends the JSON before unchanged, and then text as a JSON string. Invalid
// UTF-8, which annotation values can contain, becomes U+FFFD, as in the JSON of the API
// server.
func appendText(to []byte, before, text string) []byte {
	to, _ = jsontext.AppendQuote(append(to, before...), text) // the error concerns bytes that become U+FFFD
	return to
}
