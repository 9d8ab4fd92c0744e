package e2e_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// maxListBytes is the longest list of containers that the webhook reads.
const maxListBytes = 16 << 10

// TestGuard_listsAroundLimit generates lists of containers with about the maximum length
// that webhook and guard read. The lists have many short names, long names, spaces,
// repetitions, and multi-byte characters.
func TestGuard_listsAroundLimit(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "5s", "rapid.checks": "100"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	client, _ := newWarnedClient(t)
	guarded(t, client)
	namespace := newNamespace(t, client)
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount("role", appRole), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitDenied(t, client, namespace, "role")
	refused, admitted := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		pod := podOf("random", "role")
		pod.Spec.Containers = append(pod.Spec.Containers, *pod.Spec.Containers[0].DeepCopy())
		pod.Spec.Containers[0].Name, pod.Spec.Containers[1].Name = "app", "log"
		list := randomListOf(r, maxListBytes+rapid.IntRange(-3, 3).Draw(r, "bytes beyond the limit"))
		pod.Annotations = map[string]string{"eks.amazonaws.com/" + oneOf(r, "annotation", "skip-containers", "include-containers"): list}
		lacking := lacks(pod, mutate(r, pod, map[string]string{roleAnnotation: appRole}))
		err := dryRun(t.Context(), client, namespace, pod)
		switch {
		case len(lacking) == 0 && err == nil:
			admitted++
		case len(lacking) > 0 && deniedByGuard(err) && strings.Contains(err.Error(), "was not injected into: "+strings.Join(lacking, ", ")+"."):
			refused++
		default:
			r.Errorf("list of %d bytes: the webhook would inject containers %q; got %v from the guard\n%s", len(list), lacking, err, summary(list))
		}
	})
	if refused == 0 || admitted == 0 {
		t.Errorf("got %d pods denied and %d admitted, want some of both", refused, admitted)
	}
}

// randomListOf returns a random list of size bytes.
func randomListOf(r *rapid.T, size int) string {
	part := func(label string) string {
		return oneOf(r, label, "", "app", "log", "app,log", " app ", "\tlog", `"app"`, `"app,log"`, "\u2003app", "é", "\n")
	}
	first, last := part("first")+",", ","+part("last")
	filler := oneOf(r, "filler", "a,", " a ,", "app,", "é,", "\u2003é,", "log,log,", ",", strings.Repeat("n", 63)+",", `"a b",`)
	left := size - len(first) - len(last)
	return first + strings.Repeat(filler, left/len(filler)) + strings.Repeat("x", left%len(filler)) + last
}

// summary returns the start and the end of a list.
func summary(list string) string {
	const shown = 40
	return fmt.Sprintf("%q ... %q", list[:shown], list[len(list)-shown:])
}
