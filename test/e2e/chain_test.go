package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const targetRole = "arn:aws:iam::444455556666:role/target"

// sts is a fake STS that responds to the two calls of a role chain and records the
// requests.
type sts struct {
	mu    sync.Mutex
	calls []string
}

func (s *sts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s external id %q token %t signed by source %t",
		action, r.Form.Get("RoleArn"), r.Form.Get("ExternalId"), r.Form.Get("WebIdentityToken") != "",
		strings.Contains(r.Header.Get("Authorization"), "AKIASOURCE")))
	s.mu.Unlock()
	key := map[string]string{"AssumeRoleWithWebIdentity": "AKIASOURCE", "AssumeRole": "AKIATARGET"}[action]
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials>
		<AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>
		<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, key)
}

// TestRoleChaining runs the AWS SDK for Go with only the pod's environment and the
// files of its volume. The test writes these files as the kubelet would.
func TestRoleChaining(t *testing.T) {
	client := newClient(t)
	directory := t.TempDir()
	answers := &sts{}
	endpoint := httptest.NewServer(answers)
	t.Cleanup(endpoint.Close)
	registeredAs(t, client, webhookprocess.RegisterOptions{},
		"--token-mount-path="+directory, "--sts-endpoint="+endpoint.URL, "--aws-default-region=eu-west-1")
	namespace := newNamespace(t, client)
	account := serviceAccount("app", appRole)
	account.Annotations["eks.amazonaws.com/target-role-arn"] = targetRole
	account.Annotations["eks.amazonaws.com/target-external-id"] = "the-id"
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.Name == "AWS_ROLE_ARN" {
			t.Error("AWS_ROLE_ARN is set, which would bypass the chain")
		}
		t.Setenv(variable.Name, variable.Value)
	}
	if _, err := containerenv.New(t.Context(), client, pod, directory); err != nil {
		t.Fatal(err)
	}

	loaded, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := loaded.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if credentials.AccessKeyID != "AKIATARGET" {
		t.Errorf("got credentials %s", credentials.AccessKeyID)
	}
	want := fmt.Sprintf("AssumeRoleWithWebIdentity %s external id \"\" token true signed by source false\n"+
		"AssumeRole %s external id \"the-id\" token false signed by source true", appRole, targetRole)
	if got := strings.Join(answers.calls, "\n"); got != want {
		t.Errorf("got STS calls\n%s\nwant\n%s", got, want)
	}
}
