package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/util/cert"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
)

func TestParseFlags_invalid(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"remote address":          {[]string{"--address=0.0.0.0:7480"}, "--allow-remote"},
		"all addresses":           {[]string{"--address=:7480"}, "--allow-remote"},
		"host name":               {[]string{"--address=example.com:7480"}, "--allow-remote"},
		"no port":                 {[]string{"--address=127.0.0.1", "--allow-remote"}, "--address"},
		"certificate without key": {[]string{"--tls-cert=x"}, "--tls-key"},
		"argument":                {[]string{"serve"}, "only flags"},
		"whoami with a flag":      {[]string{"whoami", "--address=127.0.0.1:0"}, "only flags"},
		"unknown flag":            {[]string{"--real"}, "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := realMain(t.Context(), test.args, io.Discard, &stderr); code != program.ExitUsage {
				t.Errorf("got exit code %d, want %d", code, program.ExitUsage)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("got %q, want %q in it", stderr.String(), test.want)
			}
		})
	}
}

func TestParseFlags_loopbackAddress(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.1.2.3:0", "[::1]:0", "localhost:0"} {
		if _, err := parseFlags([]string{"--address=" + address}, "", io.Discard); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := parseFlags([]string{"--address=0.0.0.0:0", "--allow-remote"}, "", io.Discard); err != nil {
		t.Error(err)
	}
}

func TestParseFlags_adminSecretFromEnv(t *testing.T) {
	for given, want := range map[string]string{"": defaultSecret, "another": "another"} {
		config, err := parseFlags(nil, given, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if config.secret != want {
			t.Errorf("got %q, want %q", config.secret, want)
		}
	}
}

func TestHelp_testDoubleWarning(t *testing.T) {
	var stderr bytes.Buffer
	if code := realMain(t.Context(), []string{"--help"}, io.Discard, &stderr); code != program.ExitOK {
		t.Errorf("got exit code %d, want 0", code)
	}
	if !strings.HasPrefix(stderr.String(), testDoubleWarning) {
		t.Errorf("got help that starts with %q, want the warning", stderr.String()[:80])
	}
}

func TestRun_startErrors(t *testing.T) {
	directory := t.TempDir()
	none := filepath.Join(directory, "none.pem")
	if err := os.WriteFile(none, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ arg, want string }{
		"missing CA file":               {"--issuer-ca-file=" + directory + "/missing", "--issuer-ca-file"},
		"CA file without a certificate": {"--issuer-ca-file=" + none, "no PEM certificate"},
		"invalid state file":            {"--state-file=" + none, "fix the file"},
		"invalid account ID":            {"--account-id=12", "12 digits"},
		"invalid port":                  {"--address=127.0.0.1:99999", "--address"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := realMain(t.Context(), []string{"--address=127.0.0.1:0", test.arg}, io.Discard, &stderr); code != program.ExitFailure {
				t.Errorf("got exit code %d, want %d", code, program.ExitFailure)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("got %q, want %q in it", stderr.String(), test.want)
			}
		})
	}
}

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
	written chan struct{}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.content.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.String()
}

// address waits until the log contains the address, and returns it.
func (l *logBuffer) address(t *testing.T) string {
	t.Helper()
	for {
		for line := range strings.Lines(l.String()) {
			var entry struct{ Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Address != "" {
				return entry.Address
			}
		}
		select {
		case <-l.written:
		case <-t.Context().Done():
			t.Fatal("log contains no address")
		}
	}
}

// start runs local-sts until the test ends, and returns its address and log.
func start(t *testing.T, args ...string) (string, *logBuffer) {
	t.Helper()
	log := &logBuffer{written: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan int, 1)
	go func() { stopped <- realMain(ctx, append([]string{"--address=127.0.0.1:0"}, args...), io.Discard, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-stopped; code != program.ExitOK {
			t.Errorf("got exit code %d, want 0:\n%s", code, log)
		}
	})
	return log.address(t), log
}

func TestWhoami(t *testing.T) {
	address, log := start(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": "http://" + address, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIALOCALSTSADMIN000", "AWS_SECRET_ACCESS_KEY": defaultSecret, "AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
	var stdout, stderr bytes.Buffer
	if code := realMain(t.Context(), []string{whoamiCommand}, &stdout, &stderr); code != program.ExitOK {
		t.Fatalf("got exit code %d, want 0: %s", code, &stderr)
	}
	if !strings.Contains(stdout.String(), "Arn      arn:aws:iam::111122223333:user/local-sts-admin\n") {
		t.Errorf("got output %q", stdout.String())
	}
	for _, want := range []string{testDoubleWarning, "public default secret"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log does not contain %q", want)
		}
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if code := realMain(t.Context(), []string{whoamiCommand}, &stdout, &stderr); code != program.ExitFailure || !strings.Contains(stderr.String(), "SignatureDoesNotMatch") {
		t.Errorf("with a wrong secret: got exit code %d: %s", code, &stderr)
	}
}

func TestRun_tls(t *testing.T) {
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, _ := start(t, "--tls-cert="+directory+"/tls.crt", "--tls-key="+directory+"/tls.key")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got status %s", response.Status)
	}
}

func TestRun_issuerCAFile(t *testing.T) {
	issuer := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer issuer.Close()
	file := filepath.Join(t.TempDir(), "ca.crt")
	certificate, err := cert.EncodeCertificates(issuer.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for given, trusted := range map[string]bool{file: true, "": false} {
		client, err := newIssuerClient(given)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Get(issuer.URL)
		if err == nil {
			response.Body.Close()
		}
		if (err == nil) != trusted {
			t.Errorf("with the CA file %q: %v", given, err)
		}
		client.CloseIdleConnections()
	}
}
