package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/boundedjson"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// maxBodyBytes bounds an AdmissionReview. The API server takes a request of at
// most 3 MiB (MaxRequestBodyBytes in k8s.io/apiserver/pkg/server/config.go:
// twice the 1.5 MiB that etcd stores, since JSON is larger than protobuf), and
// a review can carry two such objects, the old and the new. 1 MiB is left for
// the rest of it. A larger body cannot come from an API server.
const maxBodyBytes = 2*3<<20 + 1<<20

const (
	// maxTimeout is the longest timeoutSeconds of a registration.
	maxTimeout = 30 * time.Second
	// defaultTimeout is that of a registration that names none.
	defaultTimeout = 10 * time.Second
	// writeTimeout is how long a client may take to take its answer. The largest
	// is some 6 MB.
	writeTimeout = 5 * time.Second
)

// review is an AdmissionReview with a request. Versions v1 and v1beta1 have the
// same form.
type review[Object any] struct {
	metav1.TypeMeta `json:",inline"`

	Request *Request[Object] `json:"request"`
}

// decoder decodes reviews.
var decoder = boundedjson.NewDecoder(inject.Lists()...)

// observer is told of each request when it has been answered: of reason and
// mutation, or of the error.
type observer func(r *http.Request, took time.Duration, answer Answer, err *Error)

// serve makes an HTTP handler of an admission handler: limits, content type,
// decode, call, encode.
func serve[Object any](handle Handler[Object], bodies *bodies, observe observer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		held := bodies.hold(r)
		defer held.release()
		answer, typeMeta, err := answerReview(w, r, held, handle)
		if err != nil {
			failure := asError(err)
			if failure.Reason == Overloaded {
				// An API server then asks again, until it gives up on the webhook.
				w.Header().Set("Retry-After", "1")
			}
			http.Error(w, "pod-identity-webhook: "+failure.Error(), failure.Status)
			observe(r, time.Since(start), answer, failure)
			return
		}
		writeReply(w, typeMeta, &answer.Response)
		observe(r, time.Since(start), answer, nil)
	})
}

func answerReview[Object any](w http.ResponseWriter, r *http.Request, held *held, handle Handler[Object]) (Answer, metav1.TypeMeta, error) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r))
	defer cancel()

	received, err := readReview[Object](ctx, w, r, held)
	if err != nil {
		return Answer{}, metav1.TypeMeta{}, err
	}
	answer, err := handle(ctx, received.Request)
	answer.Response.UID = received.Request.UID
	if err == nil {
		err = held.extend(3 * int64(len(answer.Response.Patch)))
	}
	return answer, received.TypeMeta, err
}

// timeout is how long the API server will wait, which it says in the query,
// less a tenth, so that it gets our answer and its reason, and not a time-out.
func timeout(r *http.Request) time.Duration {
	given, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || given <= 0 {
		given = defaultTimeout
	}
	return min(given, maxTimeout) * 9 / 10
}

// buffers are reused: a body is some KiB, and of no use once decoded.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledBytes keeps a rare large body from holding its memory for good.
const maxPooledBytes = 256 << 10

func takeBuffer() *bytes.Buffer {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	return buffer
}

func giveBack(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxPooledBytes {
		buffers.Put(buffer)
	}
}

func readReview[Object any](ctx context.Context, w http.ResponseWriter, r *http.Request, held *held) (*review[Object], error) {
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if err := held.take(requestBytes); err != nil {
		return nil, err
	}
	body := takeBuffer()
	defer giveBack(body)
	if err := readBody(w, r, body, held); err != nil {
		return nil, err
	}
	for _, budget := range budgets(body.Len()) {
		if err := held.decode(ctx, int64(body.Len()+budget)); err != nil {
			return nil, err
		}
		received, err := decodeReview[Object](body.Bytes(), budget)
		switch {
		case errors.Is(err, boundedjson.ErrTooMany):
			return nil, tooLarge("the review has more than %d containers, volumes, labels and the like, which no pod has", boundedjson.MaxValues)
		case !errors.Is(err, boundedjson.ErrTooLarge):
			return received, err
		}
	}
	return nil, tooLarge("the review has containers, volumes, labels and the like that take more than %d bytes, which no pod has", maxDecodedBytes/2)
}

// budgets returns what the lists and maps of a body can take, in bytes: the first that
// is enough is used. Those of most pods take less than their body. Those of a pod with a
// thousand containers do not.
func budgets(body int) [2]int { return [...]int{usualBytes + body, maxDecodedBytes/2 - body} }

func tooLarge(format string, args ...any) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Reason: BodyTooLarge, Err: fmt.Errorf(format, args...)}
}

func readBody(w http.ResponseWriter, r *http.Request, body *bytes.Buffer, held *held) error {
	if err := held.readInto(body, http.MaxBytesReader(w, r.Body, maxBodyBytes)); err != nil {
		if failure, ok := errors.AsType[*Error](err); ok {
			return failure
		}
		if _, exceeds := errors.AsType[*http.MaxBytesError](err); exceeds {
			return tooLarge("the body is larger than %d bytes, which no API server sends", maxBodyBytes)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &Error{
				Status: http.StatusRequestTimeout, Reason: BodyTooSlow,
				Err: errors.New("the body was not there in time"),
			}
		}
		return badRequest("read body: %w", err)
	}
	// From here on net/http reads the connection to notice that the client closes it.
	// A deadline would look like that.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return nil
}

func checkContentType(header string) error {
	if mediaType, _, err := mime.ParseMediaType(header); err != nil || mediaType != "application/json" {
		return &Error{
			Status: http.StatusUnsupportedMediaType, Reason: UnsupportedMediaType,
			Err: fmt.Errorf("Content-Type is %q: send application/json", header),
		}
	}
	return nil
}

func decodeReview[Object any](body []byte, budget int) (*review[Object], error) {
	var received review[Object]
	if err := decoder.Decode(body, &received, budget); err != nil {
		return nil, badRequest("the body is no AdmissionReview of the expected object: %w", err)
	}
	switch received.APIVersion {
	case admissionv1.SchemeGroupVersion.String(), admissionv1beta1.SchemeGroupVersion.String():
	default:
		return nil, badRequest("apiVersion is %q: send %s or %s",
			received.APIVersion, admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion)
	}
	if received.Kind != "AdmissionReview" {
		return nil, badRequest("kind is %q: send an AdmissionReview", received.Kind)
	}
	if received.Request == nil {
		return nil, badRequest("the AdmissionReview has no request")
	}
	return &received, nil
}
