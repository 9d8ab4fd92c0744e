package e2e_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/minioserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/tokentest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	bucket  = "bucket"
	content = "written with temporary credentials"
)

// TestMinIO runs a program with the AWS SDK for Go that has only the pod's environment
// and token. MinIO, a third-party server, verifies the token and returns credentials.
func TestMinIO(t *testing.T) {
	if got := newMinioPod(t, minioServer(t), "").write(t); got != (sdkAnswer{Content: content}) {
		t.Errorf("got %+v", got)
	}
}

// TestMinIO_rejectsInvalidTokens changes one property of the pod's token at a time.
func TestMinIO_rejectsInvalidTokens(t *testing.T) {
	server := minioServer(t)
	for _, test := range []struct {
		name      string
		audience  string
		change    func(token string) (string, error)
		wantError string
	}{
		{name: "a token for another audience", audience: "unknown-audience", wantError: "must match configured OpenID Client ID"},
		{name: "a token signed with an unknown key", change: tokentest.SignWithUnknownKey, wantError: "verification error"},
		{name: "a token that has expired", change: func(token string) (string, error) {
			return tokentest.Expired(token, cluster.SigningKey())
		}, wantError: "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := newMinioPod(t, server, test.audience)
			if test.change != nil {
				if err := tokentest.RewriteFile(pod.tokenFile, test.change); err != nil {
					t.Fatal(err)
				}
			}
			// MinIO returns this code where AWS returns different ones.
			got := pod.write(t)
			if got.Content != "" || got.Error.Code != "InvalidParameterValue" || !strings.Contains(got.Error.Message, test.wantError) {
				t.Errorf("got %+v, want InvalidParameterValue with %q", got, test.wantError)
			}
		})
	}
}

func minioServer(t *testing.T) *minioserver.Server {
	t.Helper()
	server, err := minioserver.Start(t.Context(), minioserver.Options{
		Dir: t.TempDir(), Issuer: cluster.Issuer(), IssuerCA: cluster.CABundle(), Audience: "sts.amazonaws.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := server.CreateBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	return server
}

// minioPod is a pod whose ServiceAccount has MinIO's role.
type minioPod struct {
	container *containerenv.Container
	endpoint  string
	tokenFile string
}

func newMinioPod(t *testing.T, server *minioserver.Server, audience string) minioPod {
	t.Helper()
	client := newClient(t)
	directory := t.TempDir()
	registeredAs(t, client, webhookprocess.RegisterOptions{},
		"--token-mount-path="+directory, "--sts-endpoint="+server.URL(), "--aws-default-region=eu-west-1")
	namespace := newNamespace(t, client)
	account := serviceAccount("app", server.RoleARN())
	if audience != "" {
		account.Annotations["eks.amazonaws.com/audience"] = audience
	}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := containerenv.New(t.Context(), client, pod, directory)
	if err != nil {
		t.Fatal(err)
	}
	return minioPod{container: made, endpoint: server.URL(), tokenFile: filepath.Join(directory, "token")}
}

// sdkAnswer is the output of test/sdks/golang.
type sdkAnswer struct {
	Content string
	Error   struct{ Type, Code, Message string }
}

// write runs the program in the pod's container.
func (p minioPod) write(t *testing.T) sdkAnswer {
	t.Helper()
	printed, err := p.container.Run(t.Context(), nil, repopath.Path("bin", "sdks", "golang"), "store", p.endpoint, bucket, "key", content)
	if err != nil {
		t.Fatal(err)
	}
	var a sdkAnswer
	if err := json.Unmarshal(printed, &a); err != nil {
		t.Fatalf("%v in %s", err, printed)
	}
	return a
}
