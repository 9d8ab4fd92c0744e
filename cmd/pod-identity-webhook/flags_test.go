package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
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
		verbosity: 5, ignoredReasons: map[string]string{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseFlags_ignoredFlags(t *testing.T) {
	got, err := parseFlags(strings.Fields("--in-cluster=false --service-name=x --tls-secret=y"+
		" --service-account-lookup-grace-period=100ms --resync-period=60s --client-ca-allowed-names=x"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"service-name", "tls-secret", "service-account-lookup-grace-period", "resync-period", "client-ca-allowed-names"} {
		if got.ignoredReasons[flag] == "" {
			t.Errorf("--%s is not reported", flag)
		}
	}
	if len(got.ignoredReasons) != 5 {
		t.Errorf("got ignored flags %v, want 5", got.ignoredReasons)
	}
	if got, err = parseFlags(strings.Fields("--client-ca-file=x --client-ca-allowed-names=y"), io.Discard); err != nil || len(got.ignoredReasons) > 0 {
		t.Errorf("got ignored flags %v, error %v", got.ignoredReasons, err)
	}
}

func TestParseFlags_selfSignedByDefault(t *testing.T) {
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
			t.Errorf("%q: got own certificates %t, want %t", args, got.ownCertificates, own)
		}
		if own && len(got.ignoredReasons) > 0 {
			t.Errorf("%q: got ignored flags %v, want none", args, got.ignoredReasons)
		}
	}
}

func TestParseFlags_shortVerbosity(t *testing.T) {
	got, err := parseFlags([]string{"-v", "4"}, io.Discard)
	if err != nil || got.verbosity != 4 {
		t.Errorf("got %d, %v", got.verbosity, err)
	}
}

func TestLogger_neverLogsSecretData(t *testing.T) {
	got, err := parseFlags([]string{"-v=10"}, io.Discard)
	if err != nil || got.verbosity != 7 {
		t.Errorf("got %d, %v", got.verbosity, err)
	}
}

func TestParseFlags_reportsAllErrors(t *testing.T) {
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
			t.Errorf("got error %v, want it to name %s", err, flag)
		}
	}
}

// TestParseFlags_invalidValue uses values that look valid and are not. Each message must
// have the flag, the value and a valid example. Package settings tests the other flags.
func TestParseFlags_invalidValue(t *testing.T) {
	// The level of klog is global.
	t.Cleanup(func() { _, _ = parseFlags([]string{"-v=0"}, io.Discard) })
	for _, test := range []struct {
		args    string
		message []string
	}{
		{"--port=9999", []string{"--port", "--metrics-port", "both 9999", "443"}},
		{"--kube-api-qps=0", []string{"--kube-api-qps is 0", "500"}},
		{"--kube-api-qps=-1", []string{"--kube-api-qps is -1", "500"}},
		{"--kube-api-qps=NaN", []string{"--kube-api-qps is NaN", "500"}},
		{"--kube-api-qps=Inf", []string{"--kube-api-qps is +Inf", "500"}},
		{"--kube-api-burst=0", []string{"--kube-api-burst is 0", "1000"}},
		{"--namespace=", []string{`--namespace is ""`, "pod-identity-webhook"}},
		{"--namespace=Team_A", []string{`--namespace is "Team_A"`, "pod-identity-webhook"}},
		{"--service-name=webhook.svc", []string{`--service-name is "webhook.svc"`, "pod-identity-webhook"}},
		{"--tls-secret=a/b", []string{`--tls-secret is "a/b"`, "pod-identity-webhook"}},
		{"--webhook-configuration=A", []string{`--webhook-configuration is "A"`, "pod-identity-webhook"}},
		{"--tls-ca-lifetime=24h", []string{"--tls-ca-lifetime is 24h0m0s", "three times --tls-cert-lifetime, 720h0m0s", "8760h"}},
		{"--tls-cert-lifetime=2562047h --tls-ca-lifetime=2562047h", []string{"--tls-ca-lifetime is 2562047h0m0s"}},
		{"--tls-cert-lifetime=1s", []string{"--tls-cert-lifetime is 1s", "10s"}},
		{"--tls-min-version=1.4", []string{`--tls-min-version is "1.4"`, "1.2"}},
		{"--tls-min-version=TLS12", []string{`--tls-min-version is "TLS12"`, "VersionTLS10"}},
		{"--tls-cipher-suites=ECDHE-RSA-AES128-GCM-SHA256", []string{"--tls-cipher-suites", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}},
		{"--client-ca-allowed-names=", []string{"--client-ca-allowed-names", "kube-apiserver"}},
		{"--service-account-lookup=Live", []string{`--service-account-lookup is "Live"`, "live or cached"}},
		{"--serviceaccount-validation=true", []string{"--serviceaccount-validation", `"true"`, "warn"}},
		{"--shutdown-delay=-1s", []string{"--shutdown-delay is -1s", "5s"}},
		{"--shutdown-timeout=-1s", []string{"--shutdown-timeout is -1s", "20s"}},
		{"--shutdown-timeout=0", []string{"--shutdown-timeout is 0s", "20s"}},
		{"--shutdown-delay=5", []string{"--shutdown-delay", `"5"`}},
		{"-v=-1", []string{"-v is -1", "0"}},
		{"--aws-account-id=1111-2222-3333", []string{"--aws-account-id", "1111-2222-3333", "111122223333"}},
		{"--aws-account-id=111122223333 --aws-partition=eu", []string{"--aws-partition", `"eu"`, "aws-cn"}},
	} {
		_, err := parseFlags(strings.Fields(test.args), io.Discard)
		for _, want := range test.message {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", test.args, err, want)
			}
		}
	}
}

func TestParseFlags_withoutEffect(t *testing.T) {
	for args, flag := range map[string]string{
		"--aws-account-id=111122223333":                                             "aws-account-id",
		"--compose-role-arn --aws-partition=aws-cn":                                 "aws-partition",
		"--container-credentials-audience=x":                                        "container-credentials-audience",
		"--container-credentials-full-uri=https://x":                                "container-credentials-full-uri",
		"--tls-min-version=1.3 --tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA":    "tls-cipher-suites",
		"--compose-role-arn --aws-account-id=111122223333 --aws-partition=aws-cn":   "",
		"--watch-container-credentials-config=x --container-credentials-audience=x": "",
		"--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA":                          "",
	} {
		got, err := parseFlags(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if flag == "" && len(got.ignoredReasons) > 0 || flag != "" && (got.ignoredReasons[flag] == "" || len(got.ignoredReasons) > 1) {
			t.Errorf("%s: got %v, want %q", args, got.ignoredReasons, flag)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--help", program.ExitOK, "", "--token-audience"},
		{"--version", program.ExitOK, "pod-identity-webhook", ""},
		{"--no-such-flag", program.ExitUsage, "", "no-such-flag"},
		{"serve", program.ExitUsage, "", `"serve" is not a flag`},
		{"--kube-api=https://127.0.0.1:1 --tls-cert=/nonexistent/tls.crt", program.ExitFailure, "", "/nonexistent/tls.crt"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if got := realMain(t.Context(), strings.Fields(test.args), &stdout, &stderr); got != test.code {
				t.Errorf("got exit code %d, want %d", got, test.code)
			}
			if !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stdout %q\nstderr %q", stdout.String(), stderr.String())
			}
		})
	}
}
