package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
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
		kubeAPIQPS: 500, kubeAPIBurst: 1000,
		tlsCert: "/etc/webhook/certs/tls.crt", tlsKey: "/etc/webhook/certs/tls.key",
		annotationPrefix: "irsa.example.com", tokenAudience: "amazonaws.com", tokenExpiration: 600,
		tokenMountPath:   "/var/run/secrets/eks.amazonaws.com/serviceaccount",
		awsDefaultRegion: "eu-west-1", stsRegionalEndpoint: true, serviceAccountLookup: "cached",
		shutdownDelay: time.Second, shutdownTimeout: 20 * time.Second,
		verbosity: 5,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseFlagsTakesTheShortVerbosity(t *testing.T) {
	got, err := parseFlags([]string{"-v", "4"}, io.Discard)
	if err != nil || got.verbosity != 4 {
		t.Errorf("got %d, %v", got.verbosity, err)
	}
}

func TestParseFlagsTellsAllMistakesAtOnce(t *testing.T) {
	_, err := parseFlags(strings.Fields("--annotation-prefix= --token-audience= --token-mount-path=relative"+
		" --service-account-lookup=guess --kube-api-qps=0 --shutdown-delay=-1s"), io.Discard)
	if err == nil {
		t.Fatal("no error")
	}
	for _, flag := range []string{
		"--annotation-prefix", "--token-audience", "--token-mount-path", "--service-account-lookup", "--kube-api-qps", "--shutdown-delay",
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

func TestTheReadmeHasEachFlagWithItsDefault(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	newFlagSet(new(config)).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		rows++
		name, value := "--"+f.Name, f.DefValue
		if f.Name == "v" {
			// klog's level is the process's own: another test may have set it.
			name, value = "-v", "0"
		}
		row := "| `" + name + "` | `" + value + "` | "
		if value == "" || f.Name == "version" {
			row = "| `" + name + "` | | "
		}
		if !strings.Contains(string(readme), row) {
			t.Errorf("the README has no row %s", row)
		}
	})
	if got := strings.Count(string(readme), "\n| `-"); got != rows {
		t.Errorf("the README has %d rows for %d flags", got, rows)
	}
}
