package e2e_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// serverVersion returns the version of the API server.
func serverVersion(t *testing.T, client kubernetes.Interface) *version.Version {
	t.Helper()
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// needsNewer reports whether a pod of the test cases needs a newer API server.
func needsNewer(c testcases.Case, server *version.Version) bool {
	return c.Settings.Kubernetes != "" && server.LessThan(version.MustParseGeneric(c.Settings.Kubernetes))
}

// loadTestCases returns the test cases with pods that the API server can store.
func loadTestCases(t *testing.T, client kubernetes.Interface) []testcases.Case {
	t.Helper()
	cases, err := testcases.Load(repopath.Path("test", "inject", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	server := serverVersion(t, client)
	return slices.DeleteFunc(cases, func(c testcases.Case) bool { return needsNewer(c, server) })
}

// TestGolden_minimumKubernetes creates the test cases' pods that name the oldest
// Kubernetes version that can store them. An older API server rejects them, or drops
// unknown fields.
func TestGolden_minimumKubernetes(t *testing.T) {
	client := newClient(t)
	cases, err := testcases.Load(repopath.Path("test", "inject", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	server := serverVersion(t, client)
	for _, c := range cases {
		if c.Settings.Kubernetes == "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			namespace := newNamespace(t, client)
			if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			stored, err := client.CoreV1().Pods(namespace).Create(t.Context(), &c.Pod, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
			})
			if got, want := err == nil && hasSpec(t, stored, &c.Pod), !needsNewer(c, server); got != want {
				t.Errorf("Kubernetes %s: got pod stored %t, want %t; error %v", server, got, want, err)
			}
		})
	}
}

// hasSpec reports whether a stored pod has all fields of the sent pod's spec.
func hasSpec(t *testing.T, stored, sent *corev1.Pod) bool {
	t.Helper()
	var decoded [2]any
	for i, pod := range []*corev1.Pod{stored, sent} {
		encoded, err := json.Marshal(pod.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &decoded[i]); err != nil {
			t.Fatal(err)
		}
	}
	return hasAll(decoded[0], decoded[1])
}

// hasAll reports whether got has all members of want. Both are decoded JSON.
func hasAll(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		for name, member := range want {
			ok = ok && hasAll(object[name], member)
		}
		return ok
	case []any:
		list, ok := got.([]any)
		ok = ok && len(list) >= len(want)
		for i := range want {
			ok = ok && hasAll(list[i], want[i])
		}
		return ok
	default:
		return reflect.DeepEqual(got, want)
	}
}
