// Package sdks_test runs programs with AWS SDKs of several languages. They have only the
// environment and files of a pod, which is created on a real API server. Its token is
// exchanged at local-sts and at MinIO.
package sdks_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/minioserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/tokentest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	region    = "eu-west-1"
	audience  = "sts.amazonaws.com"
	accountID = "111122223333"
	appRole   = "arn:aws:iam::" + accountID + ":role/app"
	// foreignRole trusts another ServiceAccount.
	foreignRole = "arn:aws:iam::" + accountID + ":role/foreign"
	bucket      = "bucket"
	content     = "written with temporary credentials"
)

// world is the environment of the programs.
type world struct {
	cluster *controlplane.ControlPlane
	client  kubernetes.Interface
	sts     *stsprocess.Server
	minio   *minioserver.Server
	// directory is the token's directory in pods, and agentDir the one in pods with container
	// credentials.
	directory, agentDir string
}

// pod describes a pod of a test case.
type pod struct {
	// Empty fields are omitted.
	role, endpoint, audience string
	target                   string // of a chain
	change                   func(token string) (string, error)
	directory                string // mount path of its volume; empty means the world's
}

func TestSDKs(t *testing.T) {
	w := newWorld(t)
	found := installed(t)
	t.Run("exchange", func(t *testing.T) { testExchanges(t, w, found) })
	t.Run("container credentials", func(t *testing.T) { testContainerCredentials(t, w, found) })
	t.Run("chain", func(t *testing.T) { testChains(t, w, found) })
}

// testExchanges makes each SDK exchange tokens at local-sts and MinIO, and checks its errors.
func testExchanges(t *testing.T, w *world, found []sdk) {
	expired := func(token string) (string, error) { return tokentest.Expired(token, w.cluster.SigningKey()) }
	store := []string{"store", w.minio.URL(), bucket, "key", content}
	for n, test := range []struct {
		name        string
		pod         pod
		args        []string
		want        answer
		wantMessage string // in the error's message
	}{
		{
			name: "local-sts returns the pod's role and name",
			pod:  pod{role: appRole, endpoint: w.sts.URL()}, args: []string{"whoami"},
			want: answer{ARN: "arn:aws:sts::" + accountID + ":assumed-role/app/pod-0"},
		},
		{
			name: "local-sts rejects a token for another audience",
			pod:  pod{role: appRole, endpoint: w.sts.URL(), audience: "somebody-else"}, args: []string{"whoami"},
			want: refusal("InvalidIdentityTokenException", "InvalidIdentityToken"), wantMessage: "Incorrect token audience",
		},
		{
			name: "local-sts rejects a token signed with an unknown key",
			pod:  pod{role: appRole, endpoint: w.sts.URL(), change: tokentest.SignWithUnknownKey}, args: []string{"whoami"},
			want: refusal("InvalidIdentityTokenException", "InvalidIdentityToken"), wantMessage: "Token signature is invalid",
		},
		{
			name: "local-sts rejects an expired token",
			pod:  pod{role: appRole, endpoint: w.sts.URL(), change: expired}, args: []string{"whoami"},
			want: refusal("ExpiredTokenException", "ExpiredTokenException"), wantMessage: "Token expired",
		},
		{
			// STS's API model has no type for this error.
			name: "local-sts rejects a role that trusts another ServiceAccount",
			pod:  pod{role: foreignRole, endpoint: w.sts.URL()}, args: []string{"whoami"},
			want: refusal("", "AccessDenied"), wantMessage: "Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		{
			name: "MinIO stores an object",
			pod:  pod{role: w.minio.RoleARN(), endpoint: w.minio.URL()}, args: store,
			want: answer{Content: content},
		},
		{
			name: "MinIO rejects a token for another audience",
			pod:  pod{role: w.minio.RoleARN(), endpoint: w.minio.URL(), audience: "somebody-else"}, args: store,
			want: refusal("", "InvalidParameterValue"), wantMessage: "must match configured OpenID Client ID",
		},
		{
			name: "MinIO rejects an expired token",
			pod:  pod{role: w.minio.RoleARN(), endpoint: w.minio.URL(), change: expired}, args: store,
			want: refusal("", "InvalidParameterValue"), wantMessage: "expired",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := w.create(t, fmt.Sprintf("pod-%d", n), test.pod)
			for _, s := range found {
				t.Run(s.name, func(t *testing.T) {
					got := s.run(t, c, s.network(t, test.pod.endpoint), test.args...)
					if s.untyped || test.want.Error.Type == "" {
						got.Error.Type = test.want.Error.Type
					}
					message := got.Error.Message
					if got.Error.Message = ""; got != test.want || !strings.Contains(message, test.wantMessage) {
						t.Errorf("got %+v with message %q, want %+v and %q", got, message, test.want, test.wantMessage)
					}
				})
			}
		})
	}
}

func refusal(kind, code string) answer {
	var a answer
	a.Error.Type, a.Error.Code = kind, code
	return a
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	w := &world{directory: t.TempDir(), agentDir: t.TempDir()}
	var err error
	if w.cluster, err = controlplane.Start(ctx, controlplane.Options{Dir: dir, Log: t.Output()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Stop)
	if w.client, err = kubernetes.NewForConfig(w.cluster.Config()); err != nil {
		t.Fatal(err)
	}
	w.minio, err = minioserver.Start(ctx, minioserver.Options{
		Dir: t.TempDir(), Issuer: w.cluster.Issuer(), IssuerCA: w.cluster.CABundle(), Audience: audience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.minio.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := w.minio.CreateBucket(ctx, bucket); err != nil {
		t.Fatal(err)
	}
	w.startSTS(t)
	webhook, err := webhookprocess.Start(ctx, webhookprocess.Options{
		Binary: os.Getenv("WEBHOOK"), Cluster: w.cluster, Dir: t.TempDir(),
		Args: append([]string{
			"--shutdown-delay=0s", "--token-mount-path=" + w.directory, "--aws-default-region=" + region,
			"--sts-regional-endpoint=true", "--role-session-name=pod-name",
		}, agentFlags(t, newAgent(t, w), w.agentDir)...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(webhook.Kill)
	if err := webhook.Register(ctx, w.client, webhookprocess.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// startSTS starts local-sts with an OIDC provider for the cluster's issuer and two roles.
func (w *world) startSTS(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	caFile := filepath.Join(dir, "issuer-ca.crt")
	writeFile(t, caFile, w.cluster.CABundle())
	var err error
	w.sts, err = stsprocess.Start(t.Context(), stsprocess.Options{Dir: dir, IssuerCAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.sts.Stop()
		if log, err := w.sts.Logs(); t.Failed() {
			t.Logf("last lines of the log of local-sts (error %v):\n%s", err, log[max(0, len(log)-4000):])
		}
	})
	client := iam.NewFromConfig(w.sts.AdminConfig())
	issuer := strings.TrimPrefix(w.cluster.Issuer(), "https://")
	_, err = client.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(w.cluster.Issuer()), ClientIDList: []string{audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	for role, subject := range map[string]string{"app": "system:serviceaccount:default:pod-*", "foreign": "system:serviceaccount:default:foreign"} {
		trust := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{
			"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
			"Principal": {"Federated": "arn:aws:iam::%s:oidc-provider/%s"},
			"Condition": {"StringEquals": {"%[2]s:aud": %[3]q}, "StringLike": {"%[2]s:sub": %[4]q}}
		}]}`, accountID, issuer, audience, subject)
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: &trust})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// create creates a pod and its ServiceAccount, both with the name, and returns the pod's
// container.
func (w *world) create(t *testing.T, name string, of pod) *containerenv.Container {
	t.Helper()
	annotations := map[string]string{}
	for name, value := range map[string]string{
		"role-arn": of.role, "sts-endpoint": of.endpoint, "audience": of.audience, "target-role-arn": of.target,
	} {
		if value != "" {
			annotations["eks.amazonaws.com/"+name] = value
		}
	}
	if of.target != "" {
		annotations["eks.amazonaws.com/target-external-id"] = externalID
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if _, err := w.client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	created, err := w.client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: name,
			Containers:         []corev1.Container{{Name: "app", Image: "registry.k8s.io/pause:3.10"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := containerenv.New(t.Context(), w.client, created, cmp.Or(of.directory, w.directory))
	if err != nil {
		t.Fatal(err)
	}
	if of.change != nil {
		if err := tokentest.RewriteFile(filepath.Join(w.directory, "token"), of.change); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
