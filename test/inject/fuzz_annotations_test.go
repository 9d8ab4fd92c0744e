package inject_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// FuzzAnnotations puts any text into each annotation that the webhook reads. Anyone who
// can create a pod or a ServiceAccount can write any text there.
func FuzzAnnotations(f *testing.F) {
	for _, c := range loadTestCases(f) {
		account, pod := annotationsOf(&c.ServiceAccount.ObjectMeta), annotationsOf(&c.Pod.ObjectMeta)
		f.Add(account("role-arn"), account("audience"), account("sts-regional-endpoints"), account("token-expiration"),
			account("role-session-name"), account("sts-endpoint"), account("target-role-arn"), account("target-external-id"),
			pod("token-expiration"), pod("skip-containers"), pod("include-containers"), pod("role-session-name"))
	}
	f.Add("\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", "\xff")
	f.Add("\xeb", "\x8b", "", "", "", "\xb9", "", "", "", "", "", "")
	f.Add("x", "\"\\\u2028</script>", "TRUE", "+600", "pod-name", "https://u:p@x?y#z", "x\ny", "\u0085", "0x600", "\"app\nlog\",init\r\n", ",", "pod-name")

	settings := testcases.Defaults()
	f.Fuzz(func(t *testing.T, role, audience, sts, accountExpiration, accountSession, endpoint, target, externalID,
		podExpiration, skip, include, podSession string,
	) {
		id := identity.FromAnnotations(annotations(map[string]string{
			"role-arn": role, "audience": audience, "sts-regional-endpoints": sts, "token-expiration": accountExpiration,
			"role-session-name": accountSession, "sts-endpoint": endpoint, "target-role-arn": target, "target-external-id": externalID,
		}), settings.Identity())
		document := toJSON(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "app", Annotations: annotations(map[string]string{
				"token-expiration": podExpiration, "skip-containers": skip, "include-containers": include, "role-session-name": podSession,
			})},
			Spec: corev1.PodSpec{
				ServiceAccountName: "app",
				InitContainers:     []corev1.Container{{Name: "init"}},
				Containers:         []corev1.Container{{Name: "app"}, {Name: "log"}},
			},
		})
		result, patched := decideBytes(t, document, id, settings.Inject())
		if (result.Patch != nil) != (role != "") {
			t.Fatalf("role %q: got patch %s", role, result.Patch)
		}
		if role == "" {
			return
		}
		if !json.Valid(result.Patch) {
			t.Errorf("the patch is invalid JSON: %s", result.Patch)
		}
		checkToken(t, patched)
		// The API server's JSON and protobuf contain only valid UTF-8. Check each text alone:
		// parts of one character can form a valid character together.
		for _, text := range []string{role, audience, target, externalID, endpoint} {
			if !utf8.ValidString(text) {
				return
			}
		}
		checkProperties(t, document, id, settings.Inject())
	})
}

// checkToken checks that the API server accepts the requested token, and that the token
// is safe to send to STS.
func checkToken(t tester, patched []byte) {
	t.Helper()
	asked := toPod(t, patched).Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	if asked.Audience == "" {
		t.Errorf("the audience is empty: the token would be valid for the API server")
	}
	if seconds := *asked.ExpirationSeconds; seconds < token.MinExpirationSeconds || seconds > token.MaxExpirationSeconds {
		t.Errorf("got expiration %d s, which the API server rejects", seconds)
	}
}

const prefix = "eks.amazonaws.com/"

// annotationsOf returns a function that looks up annotations by keys without prefix.
func annotationsOf(of *metav1.ObjectMeta) func(name string) string {
	return func(name string) string { return of.Annotations[prefix+name] }
}

// annotations adds the prefix to the keys.
func annotations(of map[string]string) map[string]string {
	prefixed := make(map[string]string, len(of))
	for name, value := range of {
		prefixed[prefix+name] = value
	}
	return prefixed
}
