package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/tokentest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// The provider accepts otherAudience, but the role's trust policy does not.
const (
	stsAudience   = "sts.amazonaws.com"
	otherAudience = "other.example.com"
)

// trustedPod is a pod whose ServiceAccount has the role "app" of an account. The role
// trusts the ServiceAccount "app" of the pod's namespace.
type trustedPod struct {
	container *containerenv.Container
	tokenFile string
}

func newTrustedPod(t *testing.T, a *account, serviceAccountName, audience string) trustedPod {
	t.Helper()
	client := newClient(t)
	directory := t.TempDir()
	registeredAs(t, client, webhookprocess.RegisterOptions{},
		"--token-mount-path="+directory, "--sts-endpoint="+a.endpoint, "--aws-default-region=eu-west-1", "--role-session-name=pod-name")
	namespace := newNamespace(t, client)
	a.trust(t, namespace)
	made := serviceAccount(serviceAccountName, appRole)
	if audience != "" {
		made.Annotations["eks.amazonaws.com/audience"] = audience
	}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app-0", serviceAccountName), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	inside, err := containerenv.New(t.Context(), client, pod, directory)
	if err != nil {
		t.Fatal(err)
	}
	return trustedPod{inside, filepath.Join(directory, "token")}
}

// trust creates the cluster's OIDC provider and the role.
func (a *account) trust(t *testing.T, namespace string) {
	t.Helper()
	client := iam.NewFromConfig(a.Config)
	provider, err := client.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(cluster.Issuer()), ClientIDList: []string{stsAudience, otherAudience},
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer := strings.TrimPrefix(cluster.Issuer(), "https://")
	policy := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": %q},
		"Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {
		%q: "system:serviceaccount:%s:app", %q: %q}}}]}`, *provider.OpenIDConnectProviderArn, issuer+":sub", namespace, issuer+":aud", stsAudience)
	if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("app"), AssumeRolePolicyDocument: aws.String(policy),
	}); err != nil {
		t.Fatal(err)
	}
}

// whoami runs a program with the AWS SDK for Go that has only the container's
// environment and token.
func (p trustedPod) whoami(t *testing.T) (string, error) {
	t.Helper()
	binary := os.Getenv("LOCAL_STS")
	if binary == "" {
		binary = stsprocess.DefaultBinary()
	}
	printed, err := p.container.Run(t.Context(), nil, binary, "whoami")
	return string(printed), err
}

// TestLocalSTS tests all steps: the webhook's environment, the API server's token, the
// issuer's keys, the trust policy, and a signed call.
func TestLocalSTS(t *testing.T) {
	printed, err := newTrustedPod(t, newAccount(t), "app", "").whoami(t)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::" + stsprocess.Account + ":assumed-role/app/app-0\n"; !strings.HasSuffix(printed, want) {
		t.Errorf("got output\n%s, want %s", printed, want)
	}
}

// TestLocalSTS_rejectsInvalidTokens changes one property of the pod's token at a time.
func TestLocalSTS_rejectsInvalidTokens(t *testing.T) {
	for _, test := range []struct {
		name, serviceAccount, audience string
		change                         func(token string) (string, error)
		wantError                      string
	}{
		{name: "a token for an audience that is not in the provider", audience: "unknown-audience", wantError: "InvalidIdentityToken: Incorrect token audience"},
		{name: "a token for an audience that the role does not trust", audience: otherAudience, wantError: "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		{name: "a token of another ServiceAccount", serviceAccount: "other", wantError: "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		{name: "a token signed with an unknown key", change: tokentest.SignWithUnknownKey, wantError: "InvalidIdentityToken: "},
		{name: "a token that has expired", change: func(token string) (string, error) {
			return tokentest.Expired(token, cluster.SigningKey())
		}, wantError: "ExpiredTokenException: Token expired: current date/time "},
		{name: "an invalid token", change: func(string) (string, error) { return "no-token", nil }, wantError: "InvalidIdentityToken: The ID Token provided is not a valid JWT."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.serviceAccount == "" {
				test.serviceAccount = "app"
			}
			pod := newTrustedPod(t, newAccount(t), test.serviceAccount, test.audience)
			if test.change != nil {
				if err := tokentest.RewriteFile(pod.tokenFile, test.change); err != nil {
					t.Fatal(err)
				}
			}
			printed, err := pod.whoami(t)
			if err == nil || !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("got output %q and error %v, want %s", printed, err, test.wantError)
			}
		})
	}
}

// TestLocalSTS_stateSurvivesKill kills the process, like a crash.
func TestLocalSTS_stateSurvivesKill(t *testing.T) {
	start := func(dir, state string) *stsprocess.Server {
		server, err := stsprocess.Start(t.Context(), stsprocess.Options{Dir: dir, Args: []string{"--state-file=" + state}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		return server
	}
	dir := t.TempDir()
	state := filepath.Join(dir, "state.json")
	first := start(dir, state)
	(&account{first.AdminConfig(), first.URL()}).trust(t, "shop")
	first.Stop()
	role, err := iam.NewFromConfig(start(dir, state).AdminConfig()).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	if *role.Role.Arn != appRole {
		t.Errorf("got role %s", *role.Role.Arn)
	}
}
