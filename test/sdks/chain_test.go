package sdks_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	targetRole = "arn:aws:iam::444455556666:role/target"
	externalID = "the-id"
	// The access keys of the two steps show who signed a request.
	sourceKey, targetKey = "AKIASOURCE", "AKIATARGET"
)

// chainSTS is a fake STS that responds to the calls of a role chain and records the requests.
// It verifies nothing: the test is about the requests of SDKs.
type chainSTS struct {
	mu    sync.Mutex
	calls []string
}

func (s *chainSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	authorization := r.Header.Get("Authorization")
	call := action
	switch action {
	case "AssumeRoleWithWebIdentity":
		call += fmt.Sprintf(" %s token %t", r.Form.Get("RoleArn"), r.Form.Get("WebIdentityToken") != "")
	case "AssumeRole":
		call += fmt.Sprintf(" %s external id %s signed by the source %t", r.Form.Get("RoleArn"), r.Form.Get("ExternalId"), strings.Contains(authorization, sourceKey))
	default:
		call += fmt.Sprintf(" signed by the target %t", strings.Contains(authorization, targetKey))
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	result := map[string]string{
		"AssumeRoleWithWebIdentity": temporaryCredentials(sourceKey),
		"AssumeRole":                temporaryCredentials(targetKey),
		"GetCallerIdentity":         "<Arn>arn:aws:sts::444455556666:assumed-role/target/session</Arn><UserId>AROA</UserId><Account>444455556666</Account>",
	}[action]
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

// taken returns the requests since the last call.
func (s *chainSTS) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func temporaryCredentials(key string) string {
	return "<Credentials><AccessKeyId>" + key + "</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>" +
		"<SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
}

// testChains makes each SDK assume the target role of a chain, see docs/role-chaining.md.
func testChains(t *testing.T, w *world, found []sdk) {
	answers := &chainSTS{}
	server := httptest.NewServer(answers)
	t.Cleanup(server.Close)
	c := w.create(t, "chained", pod{role: appRole, endpoint: server.URL, target: targetRole})
	for _, s := range found {
		t.Run(s.name, func(t *testing.T) {
			answers.taken()
			got := s.run(t, c, s.network(t, server.URL), "whoami")
			if want := (answer{ARN: "arn:aws:sts::444455556666:assumed-role/target/session"}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			want := []string{
				"AssumeRoleWithWebIdentity " + appRole + " token true",
				"AssumeRole " + targetRole + " external id " + externalID + " signed by the source true",
				"GetCallerIdentity signed by the target true",
			}
			if calls := answers.taken(); !slices.Equal(calls, want) {
				t.Errorf("got STS calls\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}
