package inject_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// sessionNameFor returns the session name of a pod's only container.
func sessionNameFor(t tester, pod string) string {
	id := &identity.Identity{
		Method: identity.WebIdentity, RoleARN: roleARN, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
		SessionName: identity.SessionNamePod,
	}
	document := []byte(`{"metadata":{"name":"` + pod + `"},"spec":{"serviceAccountName":"app","containers":[{"name":"app"}]}}`)
	_, patched := decideBytes(t, document, id, testcases.Defaults().Inject())
	return valueOf(&toPod(t, patched).Spec.Containers[0], "AWS_ROLE_SESSION_NAME")
}

func TestSessionName_validForSTS(t *testing.T) {
	taken := stsSessionName()
	check(t, func(t *rapid.T) {
		pod := rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?`).Draw(t, "pod")
		got := sessionNameFor(t, pod)
		if !taken.MatchString(got) {
			t.Errorf("pod %s: got session %q", pod, got)
		}
		if known := len(pod) > 1 && len(pod) <= 64; known != (got == pod) {
			t.Errorf("pod %s: got session %q equal to the pod's name: %t", pod, got, got == pod)
		}
	})
}

func TestSessionName_upTo64Characters(t *testing.T) {
	longest := strings.Repeat("a", 64)
	if got := sessionNameFor(t, longest); got != longest {
		t.Errorf("pod %s: got session %q", longest, got)
	}
	if got := sessionNameFor(t, longest+"a"); len(got) != 64 || got == longest {
		t.Errorf("pod %sa: got session %q", longest, got)
	}
}

func TestSessionName_longNamesDiffer(t *testing.T) {
	beginning := strings.Repeat("a", 64)
	check(t, func(t *rapid.T) {
		end := rapid.StringMatching(`[a-z0-9.-]{0,100}[a-z0-9]`)
		first, second := end.Draw(t, "first"), end.Draw(t, "second")
		if first == second {
			return
		}
		one, other := sessionNameFor(t, beginning+first), sessionNameFor(t, beginning+second)
		if one == other {
			t.Errorf("pods ...%s and ...%s: got the same session %q", first, second, one)
		}
		if !strings.HasPrefix(one, beginning[:50]) {
			t.Errorf("session %q does not contain the start of the pod's name", one)
		}
	})
}

// TestAWSConfig_noInjectedLines generates random annotations, including line breaks, and
// checks that they add no lines. checkMetadata checks the order of the lines.
func TestAWSConfig_noInjectedLines(t *testing.T) {
	lines := regexp.MustCompile(`^(\[default\]|\[profile web-identity\]|source_profile = web-identity|(role_arn|external_id|role_session_name|web_identity_token_file) = .*|)$`)
	check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z:/=\[\]#; \n\r\t\x00\x85é]{0,20}`)
		id := identity.FromAnnotations(map[string]string{
			"eks.amazonaws.com/role-arn":           roleARN + text.Draw(t, "after the role"),
			"eks.amazonaws.com/target-role-arn":    text.Draw(t, "target"),
			"eks.amazonaws.com/target-external-id": text.Draw(t, "external id"),
			"eks.amazonaws.com/role-session-name":  text.Draw(t, "session"),
		}, testcases.Defaults().Identity())
		pod := toJSON(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "app", Annotations: map[string]string{
				"eks.amazonaws.com/role-session-name": text.Draw(t, "session of the pod"),
			}},
			Spec: corev1.PodSpec{ServiceAccountName: "app", Containers: []corev1.Container{{Name: "app"}}},
		})
		checkProperties(t, pod, id, testcases.Defaults().Inject())
		_, patched := decideBytes(t, pod, id, testcases.Defaults().Inject())
		config, chained := toPod(t, patched).Annotations[configAnnotation]
		if chained != (id.TargetRoleARN != "") {
			t.Fatalf("target %q: got configuration %q", id.TargetRoleARN, config)
		}
		for line := range strings.SplitSeq(config, "\n") {
			if !lines.MatchString(line) || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("got unexpected line %q", line)
			}
		}
	})
}

func toJSON(t tester, value any) []byte {
	t.Helper()
	document, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("encode %T: %v", value, err)
	}
	return document
}
