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

// FuzzAnnotations gives any text to each annotation that the webhook reads.
// Anybody who may create a pod or a ServiceAccount can write anything there.
func FuzzAnnotations(f *testing.F) {
	for _, c := range loadCorpus(f) {
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
			t.Fatalf("role %q: the patch is %s", role, result.Patch)
		}
		if role == "" {
			return
		}
		if !json.Valid(result.Patch) {
			t.Errorf("the patch is no JSON: %s", result.Patch)
		}
		checkToken(t, patched)
		// The API server's own JSON and protobuf hold valid text only. Each is looked
		// at by itself: pieces of one letter are valid side by side.
		for _, text := range []string{role, audience, target, externalID, endpoint} {
			if !utf8.ValidString(text) {
				return
			}
		}
		checkProperties(t, document, id, settings.Inject())
	})
}

// checkToken says whether the API server takes the token that is asked for, and
// whether it is safe to send to STS.
func checkToken(t tester, patched []byte) {
	t.Helper()
	asked := toPod(t, patched).Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	if asked.Audience == "" {
		t.Errorf("the audience is empty: the token would be the API server's")
	}
	if seconds := *asked.ExpirationSeconds; seconds < token.MinExpirationSeconds || seconds > token.MaxExpirationSeconds {
		t.Errorf("the API server refuses an expiration of %d s", seconds)
	}
}

const prefix = "eks.amazonaws.com/"

// annotationsOf returns what looks up annotations by their keys without prefix.
func annotationsOf(of *metav1.ObjectMeta) func(name string) string {
	return func(name string) string { return of.Annotations[prefix+name] }
}

// annotations puts the prefix before the keys.
func annotations(of map[string]string) map[string]string {
	prefixed := make(map[string]string, len(of))
	for name, value := range of {
		prefixed[prefix+name] = value
	}
	return prefixed
}
