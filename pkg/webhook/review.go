package webhook

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"net/http"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
)

const (
	// maxTimeout is the longest timeoutSeconds of a webhook configuration.
	maxTimeout = 30 * time.Second
	// defaultTimeout is the default timeoutSeconds of a webhook configuration.
	defaultTimeout = 10 * time.Second
	// writeTimeout is how long a client can take to read its response. The largest
	// response has about 6 MB.
	writeTimeout = 5 * time.Second
)

// review is an AdmissionReview with a request. Versions v1 and v1beta1 have the same
// format.
type review[Object any] struct {
	metav1.TypeMeta

	Request *Request[Object]
}

func readTo[Object any, View view[Object]](received *review[Object], r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "kind":
			received.Kind = r.String()
		case "apiVersion":
			received.APIVersion = r.String()
		case "request":
			received.Request = jsonreader.Pointer(r, readRequest[Object, View])
		}
	}
}

// serve returns an HTTP handler that checks the content type, decodes the review, calls
// the admission handler and encodes the response.
func serve[Object any, View view[Object]](h *Webhook, handle Handler[Object]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		answer, typeMeta, err := handleReview[Object, View](h, r, handle)
		if err != nil {
			failure := httperror.From(err, string(InternalError))
			failure.Write(w)
			h.observe(r, time.Since(start), answer, failure)
			return
		}
		writeResponse(w, typeMeta, &answer.Response)
		h.observe(r, time.Since(start), answer, nil)
	})
}

func handleReview[Object any, View view[Object]](h *Webhook, r *http.Request, handle Handler[Object]) (Decision, metav1.TypeMeta, error) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r))
	defer cancel()

	memory := h.memory(ctx)
	received, err := readReview[Object, View](ctx, r, memory)
	if err != nil {
		return Decision{}, metav1.TypeMeta{}, err
	}
	answer, err := handle(ctx, received.Request)
	answer.Response.UID = received.Request.UID
	if err == nil {
		err = memory.Grow(3 * int64(len(answer.Response.Patch)))
	}
	return answer, received.TypeMeta, err
}

// unlimited is the Memory of a Webhook without memory limits.
type unlimited struct{}

func (unlimited) Reserve(context.Context, int64) error { return nil }
func (unlimited) Grow(int64) error                     { return nil }

func (h *Webhook) memory(ctx context.Context) Memory {
	if h.config.Memory == nil {
		return unlimited{}
	}
	return h.config.Memory(ctx)
}

// timeout returns nine tenths of the time that the API server waits, which is in the query
// of the URL. The API server then gets a response with a reason, and does not time out.
func timeout(r *http.Request) time.Duration {
	given, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || given <= 0 {
		given = defaultTimeout
	}
	return min(given, maxTimeout) * 9 / 10
}

// buffers are reused, because a body is not needed after it is decoded.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledBytes is the maximum size of a reused buffer, so that a rare large body does
// not keep its memory forever.
const maxPooledBytes = 256 << 10

func getBuffer() *bytes.Buffer {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	return buffer
}

func putBuffer(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxPooledBytes {
		buffers.Put(buffer)
	}
}

func readReview[Object any, View view[Object]](ctx context.Context, r *http.Request, memory Memory) (*review[Object], error) {
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	body := getBuffer()
	defer putBuffer(body)
	if _, err := body.ReadFrom(r.Body); err != nil {
		if known, ok := errors.AsType[*httperror.Error](err); ok {
			return nil, known
		}
		return nil, badRequest("read body: %w", err)
	}
	for _, budget := range budgets(body.Len()) {
		if err := memory.Reserve(ctx, int64(body.Len()+budget)); err != nil {
			return nil, err
		}
		received, err := decodeReview[Object, View](body.Bytes(), budget)
		switch {
		case errors.Is(err, jsonreader.ErrTooMany):
			return nil, tooLarge("AdmissionReview has more than %d list elements and map entries, such as containers, volumes and labels", jsonreader.MaxValues)
		case !errors.Is(err, jsonreader.ErrTooLarge):
			return received, err
		}
	}
	return nil, tooLarge("lists and maps of the AdmissionReview, such as containers, volumes and labels, need more than %d bytes of memory", maxDecodedBytes)
}

const (
	// usualBytes plus the size of the body is enough memory for the lists and maps of most
	// pods.
	usualBytes = 16 << 10
	// maxDecodedBytes is the maximum memory of lists and maps. The largest pod that can be
	// stored, with 6,000 containers, needs half of it.
	maxDecodedBytes = 24 << 20
)

// budgets returns the memory limits for the lists and maps of a body, in bytes. The first
// one that is enough is used. A pod with a thousand containers needs the second one.
func budgets(body int) [2]int { return [...]int{usualBytes + body, maxDecodedBytes} }

func checkContentType(header string) error {
	if mediaType, _, err := mime.ParseMediaType(header); err != nil || mediaType != "application/json" {
		return httperror.New(http.StatusUnsupportedMediaType, string(UnsupportedMediaType), "invalid Content-Type %q: send application/json", header)
	}
	return nil
}

func decodeReview[Object any, View view[Object]](body []byte, budget int) (*review[Object], error) {
	var received review[Object]
	if err := jsonreader.Read(body, budget, func(r *jsonreader.Reader) { readTo[Object, View](&received, r) }); err != nil {
		return nil, badRequest("body is not an AdmissionReview of the expected object: %w", err)
	}
	switch received.APIVersion {
	case admissionv1.SchemeGroupVersion.String(), admissionv1beta1.SchemeGroupVersion.String():
	default:
		return nil, badRequest("invalid apiVersion %q: send %s or %s",
			received.APIVersion, admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion)
	}
	if received.Kind != "AdmissionReview" {
		return nil, badRequest("invalid kind %q: send an AdmissionReview", received.Kind)
	}
	if received.Request == nil {
		return nil, badRequest("AdmissionReview has no request")
	}
	return &received, nil
}
