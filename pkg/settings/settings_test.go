package settings_test

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
)

func parse(t *testing.T, args ...string) *settings.Settings {
	t.Helper()
	var parsed settings.Settings
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	parsed.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &parsed
}

func TestDefaults_valid(t *testing.T) {
	s := parse(t)
	if mistakes := s.Validate(); len(mistakes) > 0 {
		t.Error(mistakes)
	}
	if got, want := s.Defaults(nil), (identity.Defaults{AnnotationPrefix: "eks.amazonaws.com", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}); got != want {
		t.Errorf("got %+v", got)
	}
	want := inject.Settings{
		AnnotationPrefix: "eks.amazonaws.com", MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount", FallbackMountPath: "/eks.amazonaws.com/serviceaccount",
		ContainerCredentials: inject.ContainerCredentials{
			FullURI: "http://169.254.170.23/v1/credentials", MountPath: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
			TokenPath: "eks-pod-identity-token", VolumeName: "eks-pod-identity-token",
		},
	}
	if got := s.Inject(); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestAddFlags(t *testing.T) {
	s := parse(t, "--annotation-prefix=a", "--token-audience=b", "--token-expiration=1", "--token-mount-path=/c", "--token-fallback-mount-path=/f", "--aws-default-region=d",
		"--sts-regional-endpoint", "--sts-endpoint=https://e", "--role-session-name=ff", "--compose-role-arn", "--aws-account-id=111122223333", "--aws-partition=aws-cn")
	if mistakes := s.Validate(); len(mistakes) > 0 {
		t.Error(mistakes)
	}
	got := s.Defaults(s.Account())
	if got.Account == nil || *got.Account != (identity.Account{Partition: "aws-cn", ID: "111122223333"}) {
		t.Errorf("got the account %v", got.Account)
	}
	got.Account = nil
	if want := (identity.Defaults{AnnotationPrefix: "a", Audience: "b", RegionalSTS: true, ExpirationSeconds: 600, SessionName: "ff", STSEndpoint: "https://e"}); got != want {
		t.Errorf("got %+v", got)
	}
	if injected := s.Inject(); injected.MountPath != "/c" || injected.FallbackMountPath != "/f" || injected.Region != "d" || injected.AnnotationPrefix != "a" {
		t.Errorf("got %+v", injected)
	}
}

func TestValidate_accountWithoutCompose(t *testing.T) {
	s := parse(t, "--aws-account-id=111122223333")
	if s.Defaults(s.Account()).Account != nil {
		t.Error("role names are made ARNs")
	}
}

func TestValidate_reportsAllErrors(t *testing.T) {
	s := parse(t, "--annotation-prefix=", "--token-audience=", "--token-mount-path=x", "--token-fallback-mount-path=", "--sts-endpoint=x", "--role-session-name=x", "--aws-account-id=1", "--role-policy=x",
		"--container-credentials-audience=", "--container-credentials-token-mount-path=x", "--container-credentials-token-volume-name=",
		"--container-credentials-token-path=", "--container-credentials-full-uri=x")
	if mistakes := s.Validate(); len(mistakes) != 13 {
		t.Errorf("%d mistakes: %v", len(mistakes), mistakes)
	}
}
