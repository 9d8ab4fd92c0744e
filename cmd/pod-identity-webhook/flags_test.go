package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
)

func TestParseFlags(t *testing.T) {
	got, err := parseFlags(strings.Fields("--port=8443 --metrics-port=9090 --annotation-prefix=irsa.example.com"+
		" --token-audience=amazonaws.com --token-expiration=100 --sts-regional-endpoint --logtostderr --v=5"+
		" --aws-default-region=eu-west-1 --service-account-lookup=cached --shutdown-delay=1s"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		port: 8443, metricsPort: 9090,
		kubeAPIQPS: 500, kubeAPIBurst: 1000, namespace: "eks",
		ownCertificates: true, inCluster: true,
		serviceName: "pod-identity-webhook", tlsSecret: "pod-identity-webhook", webhookConfiguration: "pod-identity-webhook",
		tlsCALifetime: 8760 * time.Hour, tlsCertLifetime: 720 * time.Hour,
		tlsCert: "/etc/webhook/certs/tls.crt", tlsKey: "/etc/webhook/certs/tls.key", tlsMinVersion: "1.2",
		clientCANames: []string{"kube-apiserver"},
		Settings: settings.Settings{
			AnnotationPrefix: "irsa.example.com", TokenAudience: "amazonaws.com", TokenExpiration: 100,
			TokenMountPath:         "/var/run/secrets/eks.amazonaws.com/serviceaccount",
			TokenFallbackMountPath: "/eks.amazonaws.com/serviceaccount",
			AWSDefaultRegion:       "eu-west-1", STSRegionalEndpoint: true,
			AWSPartition:                 "aws",
			ContainerCredentialsAudience: "pods.eks.amazonaws.com",
			ContainerCredentials: inject.ContainerCredentials{
				FullURI:   "http://169.254.170.23/v1/credentials",
				MountPath: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", TokenPath: "eks-pod-identity-token",
				VolumeName: "eks-pod-identity-token",
			},
			RolePolicy: "off",
		},
		serviceAccountLookup: "cached", serviceAccountValidation: "warn",
		shutdownDelay: time.Second, shutdownTimeout: 20 * time.Second,
		verbosity: 5, withoutEffect: map[string]string{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFlagsThatHaveLostTheirMeaningAreAcceptedAndTold(t *testing.T) {
	got, err := parseFlags(strings.Fields("--in-cluster=false --service-name=x --tls-secret=y"+
		" --service-account-lookup-grace-period=100ms --resync-period=60s --client-ca-allowed-names=x"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"service-name", "tls-secret", "service-account-lookup-grace-period", "resync-period", "client-ca-allowed-names"} {
		if got.withoutEffect[flag] == "" {
			t.Errorf("--%s is not told", flag)
		}
	}
	if len(got.withoutEffect) != 5 {
		t.Errorf("told of %v", got.withoutEffect)
	}
	if got, err = parseFlags(strings.Fields("--client-ca-file=x --client-ca-allowed-names=y"), io.Discard); err != nil || len(got.withoutEffect) > 0 {
		t.Errorf("told of %v, %v", got.withoutEffect, err)
	}
}

func TestCertificatesAreOurOwnUnlessFilesAreGiven(t *testing.T) {
	for args, own := range map[string]bool{
		"":                                      true,
		"--in-cluster":                          true,
		"--service-name=x --tls-secret=y":       true,
		"--in-cluster=false":                    false,
		"--tls-cert=x":                          false,
		"--tls-key=x":                           false,
		"--in-cluster --tls-cert=x":             false,
		"--tls-cert=/etc/webhook/certs/tls.crt": false,
	} {
		got, err := parseFlags(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got.ownCertificates != own {
			t.Errorf("%q: own certificates %t, want %t", args, got.ownCertificates, own)
		}
		if own && len(got.withoutEffect) > 0 {
			t.Errorf("%q: told of %v", args, got.withoutEffect)
		}
	}
}

func TestParseFlagsTakesTheShortVerbosity(t *testing.T) {
	got, err := parseFlags([]string{"-v", "4"}, io.Discard)
	if err != nil || got.verbosity != 4 {
		t.Errorf("got %d, %v", got.verbosity, err)
	}
}

func TestNoVerbosityLogsWhatIsInASecret(t *testing.T) {
	got, err := parseFlags([]string{"-v=10"}, io.Discard)
	if err != nil || got.verbosity != 7 {
		t.Errorf("got %d, %v", got.verbosity, err)
	}
}

func TestParseFlagsTellsAllMistakesAtOnce(t *testing.T) {
	_, err := parseFlags(strings.Fields("--annotation-prefix= --token-audience= --token-mount-path=relative --token-fallback-mount-path=relative"+
		" --service-account-lookup=guess --kube-api-qps=0 --shutdown-delay=-1s --tls-min-version=2 --tls-cipher-suites=x"+
		" --role-policy=x --serviceaccount-validation=x --sts-endpoint=x --role-session-name=x --aws-account-id=1"+
		" --container-credentials-audience= --container-credentials-full-uri=x --container-credentials-token-path="+
		" --service-name= --tls-secret= --webhook-configuration= --tls-cert-lifetime=9s --tls-ca-lifetime=20s --client-ca-allowed-names="), io.Discard)
	if err == nil {
		t.Fatal("no error")
	}
	for _, flag := range []string{
		"--annotation-prefix", "--token-audience", "--token-mount-path", "--token-fallback-mount-path", "--service-account-lookup", "--kube-api-qps", "--shutdown-delay",
		"--tls-min-version", "--tls-cipher-suites", "--role-policy", "--serviceaccount-validation", "--sts-endpoint", "--role-session-name",
		"--aws-account-id", "--container-credentials-audience", "--container-credentials-full-uri", "--container-credentials-token-path",
		"--client-ca-allowed-names",
		"--service-name", "--tls-secret", "--webhook-configuration", "--tls-cert-lifetime", "--tls-ca-lifetime",
	} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named in: %v", flag, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--help", exitOK, "", "--token-audience"},
		{"--version", exitOK, "pod-identity-webhook", ""},
		{"--no-such-flag", exitUsage, "", "no-such-flag"},
		{"serve", exitUsage, "", `"serve" is no flag`},
		{"--kube-api=https://127.0.0.1:1 --tls-cert=/nonexistent/tls.crt", exitFailure, "", "/nonexistent/tls.crt"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if got := realMain(t.Context(), strings.Fields(test.args), &stdout, &stderr); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
			if !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stdout %q\nstderr %q", stdout.String(), stderr.String())
			}
		})
	}
}
