package inject_test

import (
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// decide returns the webhook's decision about a pod with a known identity.
func decide(pod *inject.Pod, id *identity.Identity, settings inject.Settings) inject.Result {
	if reason := inject.SkipReason(pod); reason != "" {
		return inject.Result{Reason: reason}
	}
	return inject.Patch(pod, id, settings)
}

// decideBytes decides about a pod's JSON and applies the patch.
func decideBytes(t tester, pod []byte, id *identity.Identity, settings inject.Settings) (inject.Result, []byte) {
	t.Helper()
	return patchBytes(t, pod, func(view *inject.Pod) inject.Result { return decide(view, id, settings) })
}

// patchBytes calls decide with a pod's JSON and applies the patch.
func patchBytes(t tester, pod []byte, decide func(*inject.Pod) inject.Result) (inject.Result, []byte) {
	t.Helper()
	view, err := decode(pod)
	if err != nil {
		t.Fatalf("decode pod: %v\n%s", err, pod)
	}
	result := decide(view)
	patched, err := apply(pod, result.Patch)
	if err != nil {
		t.Fatalf("apply patch: %v\n%s\n%s", err, result.Patch, pod)
	}
	return result, patched
}

// decideCase decides about a test case and applies the patch.
func decideCase(t *testing.T, c *testcases.Case) (result inject.Result, patched []byte) {
	t.Helper()
	return decideBytes(t, c.PodJSON, c.Identity(), c.Settings.Inject())
}

// decode reads a pod's JSON as package webhook does.
func decode(pod []byte) (*inject.Pod, error) { return inject.ReadPod(pod) }

// loadTestCases reads the cases of testdata.
func loadTestCases(t testing.TB) []testcases.Case {
	t.Helper()
	cases, err := testcases.Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return cases
}
