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
		"an address that others can reach": {[]string{"--address=0.0.0.0:7480"}, "--allow-remote"},
		"all addresses":                    {[]string{"--address=:7480"}, "--allow-remote"},
		"an address by a name":             {[]string{"--address=example.com:7480"}, "--allow-remote"},
		"an address without a port":        {[]string{"--address=127.0.0.1", "--allow-remote"}, "--address"},
		"a certificate without its key":    {[]string{"--tls-cert=x"}, "--tls-key"},
		"an argument":                      {[]string{"serve"}, "no arguments"},
		"whoami with more":                 {[]string{"whoami", "--address=127.0.0.1:0"}, "no arguments"},
		"a flag that is unknown":           {[]string{"--real"}, "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := realMain(t.Context(), test.args, io.Discard, &stderr); code != program.ExitUsage {
				t.Errorf("exit code %d, want %d", code, program.ExitUsage)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("it says %q, without %q", stderr.String(), test.want)
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
			t.Errorf("%q, want %q", config.secret, want)
		}
	}
}

func TestHelp_testDoubleWarning(t *testing.T) {
	var stderr bytes.Buffer
	if code := realMain(t.Context(), []string{"--help"}, io.Discard, &stderr); code != program.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if !strings.HasPrefix(stderr.String(), testDoubleWarning) {
		t.Errorf("help begins with %q", stderr.String()[:80])
	}
}

func TestRun_startErrors(t *testing.T) {
	directory := t.TempDir()
	none := filepath.Join(directory, "none.pem")
	if err := os.WriteFile(none, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ arg, want string }{
		"a CA file that is missing":       {"--issuer-ca-file=" + directory + "/missing", "--issuer-ca-file"},
		"a CA file with none":             {"--issuer-ca-file=" + none, "no certificate in PEM"},
		"a state file that is none":       {"--state-file=" + none, "mend it"},
		"an account that is none":         {"--account-id=12", "12 digits"},
		"an address that nobody can have": {"--address=127.0.0.1:99999", "--address"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := realMain(t.Context(), []string{"--address=127.0.0.1:0", test.arg}, io.Discard, &stderr); code != program.ExitFailure {
				t.Errorf("exit code %d, want %d", code, program.ExitFailure)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("it says %q, without %q", stderr.String(), test.want)
			}
		})
	}
}

// logged is a log that a test reads while it is written.
type logged struct {
	mu      sync.Mutex
	content bytes.Buffer
	written chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.content.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.String()
}

// address waits until the log says where it listens.
func (l *logged) address(t *testing.T) string {
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
			t.Fatal("it does not listen")
		}
	}
}

// started runs local-sts until the test ends, and returns its address and log.
func started(t *testing.T, args ...string) (string, *logged) {
	t.Helper()
	log := &logged{written: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- realMain(ctx, append([]string{"--address=127.0.0.1:0"}, args...), io.Discard, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != program.ExitOK {
			t.Errorf("it ends with %d:\n%s", code, log)
		}
	})
	return log.address(t), log
}

func TestWhoami(t *testing.T) {
	address, log := started(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": "http://" + address, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIALOCALSTSADMIN000", "AWS_SECRET_ACCESS_KEY": defaultSecret, "AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
	var stdout, stderr bytes.Buffer
	if code := realMain(t.Context(), []string{whoamiCommand}, &stdout, &stderr); code != program.ExitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if !strings.Contains(stdout.String(), "Arn      arn:aws:iam::111122223333:user/local-sts-admin\n") {
		t.Errorf("it prints %q", stdout.String())
	}
	for _, want := range []string{testDoubleWarning, "everybody knows"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("its log does not say %q", want)
		}
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if code := realMain(t.Context(), []string{whoamiCommand}, &stdout, &stderr); code != program.ExitFailure || !strings.Contains(stderr.String(), "SignatureDoesNotMatch") {
		t.Errorf("with a wrong secret: exit code %d: %s", code, &stderr)
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
	address, _ := started(t, "--tls-cert="+directory+"/tls.crt", "--tls-key="+directory+"/tls.key")
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
		t.Error(response.Status)
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
