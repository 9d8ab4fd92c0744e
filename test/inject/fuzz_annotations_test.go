package inject_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/corpus"
)

// FuzzAnnotations gives any text to each annotation that the webhook reads.
// Anybody who may create a pod or a ServiceAccount can write anything there.
func FuzzAnnotations(f *testing.F) {
	const prefix = "eks.amazonaws.com/"
	for _, c := range loadCorpus(f) {
		account, pod := c.ServiceAccount.Annotations, c.Pod.Annotations
		f.Add(account[prefix+"role-arn"], account[prefix+"audience"], account[prefix+"sts-regional-endpoints"],
			account[prefix+"token-expiration"], pod[prefix+"token-expiration"], pod[prefix+"skip-containers"])
	}
	f.Add("\xff", "\xff", "\xff", "\xff", "\xff", "\xff")
	f.Add("x", "\"\\\u2028</script>", "TRUE", "+600", "0x600", "\"app\nlog\",init\r\n")

	settings := corpus.Defaults()
	f.Fuzz(func(t *testing.T, role, audience, sts, accountExpiration, podExpiration, skip string) {
		id := identity.FromAnnotations(map[string]string{
			prefix + "role-arn":               role,
			prefix + "audience":               audience,
			prefix + "sts-regional-endpoints": sts,
			prefix + "token-expiration":       accountExpiration,
		}, settings.Identity())
		pod := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "app", Annotations: map[string]string{
				prefix + "token-expiration": podExpiration,
				prefix + "skip-containers":  skip,
			}},
			Spec: corev1.PodSpec{
				ServiceAccountName: "app",
				InitContainers:     []corev1.Container{{Name: "init"}},
				Containers:         []corev1.Container{{Name: "app"}, {Name: "log"}},
			},
		}
		document, err := json.Marshal(&pod)
		if err != nil {
			t.Fatal(err)
		}
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
		asked := toPod(t, patched).Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
		if asked.Audience == "" {
			t.Error("the audience is empty: the token would be the API server's")
		}
		if seconds := *asked.ExpirationSeconds; seconds < token.MinExpirationSeconds || seconds > token.MaxExpirationSeconds {
			t.Errorf("the API server refuses an expiration of %d s", seconds)
		}
		// The API server's own JSON and protobuf hold valid text only.
		if utf8.ValidString(role) && utf8.ValidString(audience) {
			checkProperties(t, document, id, settings.Inject())
		}
	})
}
