package e2e_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/tokentest"
)

// TestTokenExchange exchanges real tokens at local-sts and checks the reasons of the
// errors. The unit tests cover the error codes that local-sts does not return.
func TestTokenExchange(t *testing.T) {
	client, account := newClient(t), newAccount(t)
	namespace := newNamespace(t, client)
	account.trust(t, namespace)
	for _, name := range []string{"app", "other"} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount(name, ""), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	requestToken := func(name, audience string) string {
		t.Helper()
		issued, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return issued.Status.Token
	}
	changed := func(raw string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := requestToken("app", stsAudience)

	t.Run("valid token", func(t *testing.T) {
		got, err := exchange.WithWebIdentity(t.Context(), account.Config, exchange.Input{
			RoleARN: appRole, SessionName: "app-0", Token: good, Duration: 20 * time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		want := "arn:aws:sts::" + stsprocess.Account + ":assumed-role/app/app-0"
		if got.AssumedRoleARN != want || got.Subject != token.Subject(namespace, "app") || got.Audience != stsAudience || !strings.Contains(got.Provider, ":oidc-provider/") {
			t.Errorf("got role %s, subject %s, audience %s, provider %s", got.AssumedRoleARN, got.Subject, got.Audience, got.Provider)
		}
		if left := time.Until(got.Credentials.Expires); left < 19*time.Minute || left > 20*time.Minute {
			t.Errorf("got credentials valid for %s, want 20m", left)
		}
		config := account.Config
		config.Credentials = credentials.StaticCredentialsProvider{Value: got.Credentials}
		caller, err := awssts.NewFromConfig(config).GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
		if err != nil || aws.ToString(caller.Arn) != want {
			t.Errorf("got caller %s, error %v; want %s", aws.ToString(caller.Arn), err, want)
		}
	})
	for name, test := range map[string]struct {
		raw, role, session string
		duration           time.Duration
		reason             exchange.Reason
		code               string
	}{
		"audience not in the provider":           {raw: requestToken("app", "unknown-audience"), reason: exchange.InvalidIdentityToken, code: "InvalidIdentityToken"},
		"signed with an unknown key":             {raw: changed(tokentest.SignWithUnknownKey(good)), reason: exchange.InvalidIdentityToken, code: "InvalidIdentityToken"},
		"expired":                                {raw: changed(tokentest.Expired(good, cluster.SigningKey())), reason: exchange.ExpiredToken, code: "ExpiredTokenException"},
		"ServiceAccount not in the trust policy": {raw: requestToken("other", stsAudience), reason: exchange.AccessDenied, code: "AccessDenied"},
		"audience not in the trust policy":       {raw: requestToken("app", otherAudience), reason: exchange.AccessDenied, code: "AccessDenied"},
		"role does not exist":                    {raw: good, role: "arn:aws:iam::" + stsprocess.Account + ":role/none", reason: exchange.AccessDenied, code: "AccessDenied"},
		"role without ARN":                       {raw: good, role: "a-role-without-an-arn", reason: exchange.Other, code: "ValidationError"},
		"session name with a space":              {raw: good, session: "a b", reason: exchange.Other, code: "ValidationError"},
		"duration of a minute":                   {raw: good, duration: time.Minute, reason: exchange.Other, code: "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			in := exchange.Input{RoleARN: appRole, SessionName: "app-0", Token: test.raw, Duration: test.duration}
			if test.role != "" {
				in.RoleARN = test.role
			}
			if test.session != "" {
				in.SessionName = test.session
			}
			_, err := exchange.WithWebIdentity(t.Context(), account.Config, in)
			refusal, ok := errors.AsType[*exchange.Error](err)
			if !ok || refusal.Reason != test.reason || refusal.Code != test.code || refusal.RequestID == "" || refusal.Status < 400 {
				t.Errorf("got %+v, want reason %s, code %s", err, test.reason, test.code)
			}
			if strings.Contains(err.Error(), test.raw) || !strings.Contains(err.Error(), refusal.Hint()) {
				t.Error("the error contains the token, or no hint")
			}
		})
	}
}
