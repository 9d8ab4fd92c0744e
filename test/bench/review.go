package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

func recordingsDir() string { return repopath.Path("test", "bench", "testdata") }

// review is an AdmissionReview of a pod, recorded from an API server.
type review struct {
	name                      string
	namespace, serviceAccount string
	uid                       string
	body                      []byte
}

// loadReviews returns the recorded reviews, ordered by file name.
func loadReviews() ([]review, error) {
	files, err := filepath.Glob(filepath.Join(recordingsDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no recordings", recordingsDir())
	}
	var reviews []review
	for _, file := range files {
		body, err := os.ReadFile(file) //nolint:gosec // a file of the repository
		if err != nil {
			return nil, err
		}
		parsed, err := parseReview(body)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		parsed.name = strings.TrimSuffix(filepath.Base(file), ".json")
		reviews = append(reviews, parsed)
	}
	return reviews, nil
}

func parseReview(body []byte) (review, error) {
	var recorded admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &recorded); err != nil {
		return review{}, err
	}
	if recorded.Request == nil {
		return review{}, fmt.Errorf("%s has no request", recorded.Kind)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(recorded.Request.Object.Raw, &pod); err != nil {
		return review{}, err
	}
	return review{
		namespace: recorded.Request.Namespace, serviceAccount: pod.Spec.ServiceAccountName,
		uid: string(recorded.Request.UID), body: body,
	}, nil
}

// of returns the same review with another ServiceAccount of the pod.
func (r review) of(serviceAccount string) review {
	field := func(name string) []byte { return fmt.Appendf(nil, `"serviceAccountName":%q`, name) }
	r.body = bytes.Replace(r.body, field(r.serviceAccount), field(serviceAccount), 1)
	r.serviceAccount = serviceAccount
	return r
}
