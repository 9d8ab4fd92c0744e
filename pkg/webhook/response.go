package webhook

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// writeResponse writes an AdmissionReview with a response. Invalid UTF-8, which the value
// of an annotation can hold, becomes U+FFFD.
func writeResponse(w http.ResponseWriter, typeMeta metav1.TypeMeta, response *admissionv1.AdmissionResponse) {
	body, err := json.Marshal(&admissionv1.AdmissionReview{TypeMeta: typeMeta, Response: response}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // the types of the API can be encoded
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	// A client that does not read its response keeps memory for which others wait.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _ = w.Write(body)
}
