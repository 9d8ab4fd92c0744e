package inject_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/corpus"
)

// sessionNameFor returns the session name that a pod's only container gets.
func sessionNameFor(t tester, pod string) string {
	id := &identity.Identity{
		Method: identity.WebIdentity, RoleARN: roleARN, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
		SessionName: identity.SessionNamePod,
	}
	document := []byte(`{"metadata":{"name":"` + pod + `"},"spec":{"serviceAccountName":"app","containers":[{"name":"app"}]}}`)
	_, patched := decideBytes(t, document, id, corpus.Defaults().Inject())
	return valueOf(&toPod(t, patched).Spec.Containers[0], "AWS_ROLE_SESSION_NAME")
}

func TestSTSTakesTheSessionNameOfAnyPod(t *testing.T) {
	taken := regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	check(t, func(t *rapid.T) {
		pod := rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?`).Draw(t, "pod")
		if got := sessionNameFor(t, pod); !taken.MatchString(got) {
			t.Errorf("pod %s: session %q", pod, got)
		}
	})
}

func TestLongPodNamesThatBeginAlikeHaveDifferentSessions(t *testing.T) {
	beginning := strings.Repeat("a", 100)
	if first, second := sessionNameFor(t, beginning+"1"), sessionNameFor(t, beginning+"2"); first == second {
		t.Errorf("both are %q", first)
	}
}

// TestNothingGetsIntoAConfigurationButItsOwnLines draws what an annotation can
// hold, line breaks included.
func TestNothingGetsIntoAConfigurationButItsOwnLines(t *testing.T) {
	keys := regexp.MustCompile(`^(\[default\]|\[profile web-identity\]|role_arn = .*|source_profile = web-identity|external_id = .*|role_session_name = .*|web_identity_token_file = .*|)$`)
	check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z:/=\[\]#; \n\r\t\x00]{0,20}`)
		id := identity.FromAnnotations(map[string]string{
			"eks.amazonaws.com/role-arn":           roleARN,
			"eks.amazonaws.com/target-role-arn":    text.Draw(t, "target"),
			"eks.amazonaws.com/target-external-id": text.Draw(t, "external id"),
			"eks.amazonaws.com/role-session-name":  text.Draw(t, "session"),
		}, corpus.Defaults().Identity())
		pod := &inject.Pod{Spec: inject.Spec{ServiceAccountName: "app", Containers: []inject.Container{{Name: "app"}}}}
		pod.Metadata.Name = "app"
		result, err := inject.Patch(pod, id, corpus.Defaults().Inject())
		if err != nil {
			t.Fatal(err)
		}
		patched, err := apply([]byte(`{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app"}]}}`), result.Patch)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(toPod(t, patched).Annotations["eks.amazonaws.com/aws-config"], "\n") {
			if !keys.MatchString(line) {
				t.Errorf("line %q", line)
			}
		}
	})
}
