package webhook

import (
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// For the tests that ask as an API server does.
func RoomFor(body []byte) (int64, error) {
	for _, room := range rooms {
		if _, err := decodeReview(body, room, (*inject.Pod).Read); !errors.Is(err, skim.ErrTooMuch) {
			return int64(len(body)) + room, err
		}
	}
	return 0, skim.ErrTooMuch
}

const (
	LargeBytes      = largeBytes
	MaxDecodedBytes = maxDecodedBytes
	SeldomLines     = seldomLines
	WriteTimeout    = writeTimeout
)

// DecodePodRequest and WriteAnswer are the first and the last step of an admission,
// to be measured alone.

func DecodePodRequest(body []byte) (*Request[inject.Pod], error) {
	received, err := decodeReview(body, rooms[0], (*inject.Pod).Read)
	if err != nil {
		return nil, err
	}
	return received.Request, nil
}

func WriteAnswer(w http.ResponseWriter, answer Answer) {
	writeReply(w, metav1.TypeMeta{}, &answer.Response)
}
