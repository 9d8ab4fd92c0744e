package inject_test

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// future is the value of unknown fields of future Kubernetes versions. No float can
// represent its first number. The other values are numbers and texts in unusual spellings,
// a null, empty values, and names that are known in other places.
const future = `{"number":9007199254740993,"fraction":1.0,"exponent":1E+2,"text":"é\u00e9\/","null":null,"list":[],"object":{},"env":[{"name":"AWS_ROLE_ARN"}],"Name":"x"}`

// futurePod has such a field in each object in which, or next to which, a patch adds
// something.
var futurePod = strings.ReplaceAll(`{
  "apiVersion": "v1",
  "kind": "Pod",
  "future": FUTURE,
  "metadata": {"name": "app", "future": FUTURE},
  "spec": {
    "future": FUTURE,
    "serviceAccountName": "app",
    "volumes": [
      {"name": "data", "futureVolume": FUTURE},
      {"name": "aws-iam-token", "projected": {"future": FUTURE, "sources": [{"futureSource": FUTURE}]}}
    ],
    "initContainers": [{"name": "init", "future": FUTURE}],
    "containers": [
      {
        "name": "app",
        "future": FUTURE,
        "env": [{"name": "GREETING", "future": FUTURE}, {"name": "AWS_REGION", "valueFrom": {"futureRef": FUTURE}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "future": FUTURE}],
        "securityContext": {"future": FUTURE}
      }
    ]
  },
  "status": {"future": FUTURE}
}`, "FUTURE", future)

func TestUnknownFields_preserved(t *testing.T) {
	settings := testcases.Defaults()
	settings.Region, settings.RegionalSTS = "eu-west-1", true
	id := identity.FromAnnotations(map[string]string{"eks.amazonaws.com/role-arn": roleARN}, settings.Identity())
	result, patched := decideBytes(t, []byte(futurePod), id, settings.Inject())
	if result.Reason != inject.Injected || result.Volume != "aws-iam-token-2" || len(result.Containers) != 2 {
		t.Fatalf("got %+v", result)
	}
	want := strings.Count(futurePod, future)
	if want < 10 {
		t.Fatalf("got %d unknown fields in the pod", want)
	}
	if got := strings.Count(string(patched), future); got != want {
		t.Errorf("got %d of %d unknown fields after the patch:\n%s", got, want, patched)
	}
	// The fields must also be unchanged and at the same place.
	checkProperties(t, []byte(futurePod), id, settings.Inject())
}

func TestUnknownFields_notInCoreV1(t *testing.T) {
	known, err := json.Marshal(toPod(t, []byte(futurePod)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(known), "future") || strings.Contains(string(known), "exponent") {
		t.Errorf("%T has the fields: %s", corev1.Pod{}, known)
	}
}
