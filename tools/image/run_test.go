package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// extract writes the program of an image to an executable file.
func (m builtImage) extract(t *testing.T) string {
	t.Helper()
	image := m.images(t)[runtime.GOARCH]
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, contents(t, image)[strings.TrimPrefix(entrypoint(t, image), "/")], 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImage_version(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		printed, err := exec.CommandContext(t.Context(), m.extract(t), "--version").Output()
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseInt(m.epoch, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%s %s (commit %s, of %s, %s)\n",
			m.program, m.version, m.commit, time.Unix(seconds, 0).UTC().Format(time.RFC3339), runtime.Version())
		if string(printed) != want {
			t.Errorf("--version: got %q, want %q", printed, want)
		}
	})
}

func TestImage_runWebhook(t *testing.T) {
	m := theImage(t, webhook)
	directory := t.TempDir()
	certificate, key := filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key")
	roots := selfSigned(t, certificate, key)
	started := m.start(t, "--bind-address=127.0.0.1",
		"--port=0", "--metrics-port=0", "--tls-cert="+certificate, "--tls-key="+key,
		"--kube-api=https://127.0.0.1:1", "--shutdown-delay=0s")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	if _, err := get(client, "https://"+started.Address+"/healthz"); err != nil {
		t.Error(err)
	}
	metrics, err := get(client, "http://"+started.MetricsAddress+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("pod_identity_webhook_build_info{commit=%q,goversion=%q,version=%q} 1", m.commit, runtime.Version(), m.version); !strings.Contains(metrics, want) {
		t.Errorf("got no metric %s", want)
	}
	started.stop(t)
}

func TestImage_runLocalSTS(t *testing.T) {
	started := theImage(t, localSTS).start(t, "--address=127.0.0.1:0")
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	if _, err := get(client, "http://"+started.Address+"/healthz"); err != nil {
		t.Error(err)
	}
	started.stop(t)
}

// started is a running server program, with the address in its log.
type started struct {
	Address, MetricsAddress string

	process *os.Process
	ended   chan error
}

// start runs the program of the image and waits until it serves.
func (m builtImage) start(t *testing.T, args ...string) *started {
	t.Helper()
	command := exec.CommandContext(t.Context(), m.extract(t), args...)
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s := &started{process: command.Process, ended: make(chan error, 1)}
	var lines []string
	log := bufio.NewScanner(output)
	for s.Address == "" && log.Scan() {
		lines = append(lines, log.Text())
		if err := json.Unmarshal(log.Bytes(), s); err != nil {
			t.Errorf("got log line %q: %v", log.Text(), err)
		}
	}
	if s.Address == "" {
		t.Fatalf("the program exited with %v; log:\n%s", command.Wait(), strings.Join(lines, "\n"))
	}
	go func() {
		for log.Scan() { // keep reading, so that its writes never block
		}
		s.ended <- command.Wait()
	}()
	return s
}

// stop stops the program, which must exit without an error.
func (s *started) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("the program exited with %v", err)
	}
}

func selfSigned(t *testing.T, certificate, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: encodedKey},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return roots
}

func get(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), nil
}
