package inject_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// BenchmarkPatch measures a decision without the decoding of the pod, for the pods that
// make bench uses.
func BenchmarkPatch(b *testing.B) {
	settings := inject.Settings{AnnotationPrefix: "eks.amazonaws.com", MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount", FallbackMountPath: "/eks.amazonaws.com/serviceaccount"}
	id := &identity.Identity{
		Method: identity.WebIdentity, RoleARN: "arn:aws:iam::111122223333:role/app", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
	}
	for _, name := range []string{"small", "cloudwatch-agent", "large"} {
		b.Run("pod="+name, func(b *testing.B) {
			pod := recordedPod(b, name)
			b.ReportAllocs()
			for b.Loop() {
				if result := inject.Patch(pod, id, settings); result.Reason != inject.Injected {
					b.Fatal(result.Reason)
				}
			}
		})
	}
}

// recordedPod returns the pod of a recorded AdmissionReview of an API server.
func recordedPod(b *testing.B, name string) *inject.Pod {
	b.Helper()
	body, err := os.ReadFile("../../test/bench/testdata/" + name + ".json")
	if err != nil {
		b.Fatal(err)
	}
	var review struct {
		Request struct{ Object json.RawMessage }
	}
	if err := json.Unmarshal(body, &review); err != nil {
		b.Fatal(err)
	}
	pod, err := inject.ReadPod(review.Request.Object)
	if err != nil {
		b.Fatal(err)
	}
	return pod
}
