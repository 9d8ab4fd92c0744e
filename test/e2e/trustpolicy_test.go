package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
)

// startSTS starts a local-sts that trusts the CA of the cluster's issuer.
func startSTS(t *testing.T) *stsprocess.Server {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, cluster.Config().CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := stsprocess.Start(t.Context(), stsprocess.Options{Dir: t.TempDir(), IssuerCAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if log, err := server.Logs(); t.Failed() {
			t.Logf("log of local-sts (error %v):\n%s", err, log)
		}
	})
	return server
}

// pluginWithAWS runs the plugin as the administrator of local-sts.
func pluginWithAWS(t *testing.T, server *stsprocess.Server, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	credentials, err := server.AdminConfig().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), pluginBinary(t), args...)
	command.Env = []string{
		"KUBECONFIG=" + cluster.Kubeconfig(), "HOME=" + t.TempDir(), "AWS_ENDPOINT_URL=" + server.URL(), "AWS_REGION=" + stsprocess.Region,
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
	}
	var out, errOut bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errOut
	if err := command.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return out.String(), errOut.String(), code
}

// TestTrustPolicy creates roles with the output of trust-policy for the real cluster, and
// exchanges real tokens of their ServiceAccounts. STS and --check must agree.
func TestTrustPolicy(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	for _, name := range []string{"app", "other"} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount(name, ""), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	server := startSTS(t)
	roles := iam.NewFromConfig(server.AdminConfig())
	if _, err := roles.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(cluster.Issuer()), ClientIDList: []string{"sts.amazonaws.com"},
	}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		// app and other report whether these ServiceAccounts may assume the role.
		app, other bool
	}{
		"one":       {[]string{namespace + "/app"}, true, false},
		"both":      {[]string{namespace + "/app", namespace + "/other"}, true, true},
		"wildcard":  {[]string{namespace + "/*"}, true, true},
		"beginning": {[]string{namespace + "/o*"}, false, true},
		"elsewhere": {[]string{"default/app"}, false, false},
		"audience":  {[]string{namespace + "/app", "--audience", "sts.example.com"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			policy, stderr, code := pluginWithAWS(t, server, "", append([]string{"trust-policy"}, test.args...)...)
			if code != 0 {
				t.Fatalf("got exit code %d: %s", code, stderr)
			}
			role, err := roles.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(policy)})
			if err != nil {
				t.Fatalf("%v\n%s", err, policy)
			}
			for account, allowed := range map[string]bool{"app": test.app, "other": test.other} {
				if got := canAssumeRole(t, server, *role.Role.Arn, requestToken(t, client, namespace, account)); got != allowed {
					t.Errorf("ServiceAccount %s: got role assumed %t\n%s", account, got, policy)
				}
				output, stderr, code := pluginWithAWS(t, server, policy, "trust-policy", namespace+"/"+account, "--check", "-")
				if (code == 0) != allowed || code != 0 && code != 2 {
					t.Errorf("--check of %s: got exit code %d\n%s%s", account, code, output, stderr)
				}
			}
		})
	}
}

// requestToken returns a token of a ServiceAccount for the webhook's default audience.
func requestToken(t *testing.T, client kubernetes.Interface, namespace, account string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"sts.amazonaws.com"}}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// canAssumeRole reports whether STS returns credentials of a role for a token.
func canAssumeRole(t *testing.T, server *stsprocess.Server, role, token string) bool {
	t.Helper()
	_, err := awssts.NewFromConfig(server.AnonymousConfig()).AssumeRoleWithWebIdentity(t.Context(), &awssts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(role), RoleSessionName: aws.String("e2e"), WebIdentityToken: aws.String(token),
	})
	if refused, ok := errors.AsType[apiError](err); ok && refused.ErrorCode() == "AccessDenied" {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// apiError is the SDK's interface of an AWS error response.
type apiError interface {
	error
	ErrorCode() string
}
