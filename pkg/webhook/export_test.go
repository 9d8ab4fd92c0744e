package webhook

import (
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// MemoryFor returns the memory that is reserved for a body.
func MemoryFor(body []byte) (int64, error) {
	for _, budget := range budgets(len(body)) {
		if _, err := decodeReview[inject.Pod](body, budget); !errors.Is(err, jsonreader.ErrTooLarge) {
			return int64(len(body) + budget), err
		}
	}
	return 0, jsonreader.ErrTooLarge
}

const (
	MaxDecodedBytes = maxDecodedBytes
	WriteTimeout    = writeTimeout
)

// DecodePodRequest and WriteAnswer are the first and the last step of an admission
// request, for benchmarks.

func DecodePodRequest(body []byte) (*Request[inject.Pod], error) {
	received, err := decodeReview[inject.Pod](body, maxDecodedBytes)
	if err != nil {
		return nil, err
	}
	return received.Request, nil
}

func WriteAnswer(w http.ResponseWriter, answer Decision) {
	writeResponse(w, metav1.TypeMeta{}, &answer.Response)
}
