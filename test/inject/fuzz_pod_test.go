package inject_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// FuzzPod decodes bytes with two decoders that must agree. The webhook's decoder reads into
// inject.Pod only some fields of a pod. The other decoder is the one of the API server and
// all clients. The rules:
//
//   - The API server never sends the webhook bytes that it cannot decode as a pod. The
//     webhook's decoder may accept them, because it does not read most fields. A decision
//     about them must not panic.
//   - The webhook must be able to decode bytes that the API server can decode, with the same
//     value in each field of inject.Pod.
//   - The exception are objects with duplicate names. The API server decodes them with a
//     warning and sends its own encoding without duplicates. The two decoders may
//     decode the duplicates differently.
//   - The API server sends its own encoding of the pod. For that, checkProperties and
//     checkEphemeralProperties must hold, for any identity and any new containers.
func FuzzPod(f *testing.F) {
	for _, c := range loadTestCases(f) {
		f.Add(c.PodJSON)
	}
	for _, c := range loadEphemeral(f) {
		f.Add(c.ChangedJSON)
	}
	for _, pod := range []string{
		``, `null`, `[]`, `{}`, `{"spec":null}`, `{"metadata":{"annotations":null,"labels":{}},"spec":{"serviceAccountName":"app"}}`,
		`{"spec":{"serviceAccountName":"app","containers":[null],"volumes":[null],"initContainers":null}}`,
		`{"spec":{"serviceAccountName":"app","containers":[{"env":[null],"volumeMounts":null}]}}`,
		`{"spec":{"serviceAccountName":"app","ServiceAccountName":"other","Containers":[{"name":"x"}],"containers":[{"Name":"x"}]}}`,
		`{"spec":{"serviceAccountName":"app"},"spec":{"containers":[{"name":"x"}]}}`,
		`{"spec":{"serviceAccountName":"app","containers":[{"env":[{"name":"a","value":"b","value":"c"}]}]}}`,
		`{"spec":{"serviceAccountName":"\ud800","containers":[{"name":"` + "\xff" + `"}]}}`,
		`{"spec":{"serviceAccountName":"app","volumes":[{"name":"aws-iam-token","projected":{"sources":[null,{"serviceAccountToken":null}]}}]}}`,
		`{"spec":{"serviceAccountName":"app","containers":[{"env":[{"name":"\u0041WS_REGION","value":"\u0078"},{"value":"x","name":"AWS_\u0052OLE_ARN"},{"name":"HOME","value":"\u0041WS_"}]}]}}`,
		`{"metadata":{"name":"` + strings.Repeat("é", 40) + `"},"spec":{"serviceAccountName":"app","containers":[{"name":"x"}]}}`,
		`{"spec":{"serviceAccountName":1}}`, `{"spec":{"hostNetwork":"yes"}}`, `{"metadata":{"labels":{"a":null}}} `,
	} {
		f.Add([]byte(pod))
	}
	settings := testcases.Defaults()
	settings.Region = "eu-west-1"
	ids := identities(settings)

	f.Fuzz(func(t *testing.T, document []byte) {
		view, viewErr := decode(document)
		if viewErr == nil {
			for _, id := range ids {
				decide(view, id, settings.Inject())
			}
		}
		var pod corev1.Pod
		faults, err := kjson.UnmarshalStrict(document, &pod, kjson.DisallowDuplicateFields)
		if err != nil {
			return
		}
		if len(faults) == 0 {
			if viewErr != nil {
				t.Fatalf("only the API server can decode the pod: %v", viewErr)
			}
			checkView(t, view, &pod)
		}
		sent, err := json.Marshal(&pod)
		if err != nil {
			t.Skip("the API server could not encode the pod")
		}
		view, err = decode(sent)
		if err != nil {
			t.Fatalf("decode the API server's encoding: %v\n%s", err, sent)
		}
		checkView(t, view, toPod(t, sent))
		for _, id := range ids {
			checkProperties(t, sent, id, settings.Inject())
		}
		ephemeral := pod.Spec.EphemeralContainers
		pod.Spec.EphemeralContainers = ephemeral[:len(ephemeral)/2]
		for _, id := range ids {
			checkEphemeralProperties(t, toJSON(t, &pod), sent, id, settings.Inject())
		}
	})
}

// identities returns one identity for each method.
func identities(settings testcases.Settings) []*identity.Identity {
	defaults := settings.Identity()
	return []*identity.Identity{
		identity.FromAnnotations(annotations(map[string]string{"role-arn": roleARN}), defaults),
		identity.FromAnnotations(annotations(map[string]string{
			"role-arn": roleARN, "role-session-name": "pod-name", "sts-endpoint": "https://sts.example.com", "sts-regional-endpoints": "true",
		}), defaults),
		identity.FromAnnotations(annotations(map[string]string{
			"role-arn": roleARN, "role-session-name": "pod-name", "target-role-arn": "arn:aws:iam::444455556666:role/target", "target-external-id": "id",
		}), defaults),
		{Method: identity.ContainerCredentials, Audience: "pods.eks.amazonaws.com", ExpirationSeconds: 86400},
	}
}

func checkView(t tester, got any, pod *corev1.Pod) {
	t.Helper()
	if want := viewOf(pod); !reflect.DeepEqual(got, want) {
		t.Errorf("got view\n%+v\nwant\n%+v", got, want)
	}
}
