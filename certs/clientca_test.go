package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clientCA returns a ClientCA of a file with the content.
func clientCA(t *testing.T, content []byte, log io.Writer) (ca *ClientCA, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := NewClientCA(file, slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ca.pollInterval = 20 * time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { ca.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return ca, file
}

// reloadsOf returns the value of the reloads metric for the result.
func reloadsOf(t *testing.T, ca *ClientCA, result string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(ca.reloads)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range families[0].GetMetric() {
		if metric.GetLabel()[0].GetValue() == result {
			return metric.GetCounter().GetValue()
		}
	}
	t.Fatalf("no count of %s", result)
	return 0
}

func poolOf(t *testing.T, content []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		t.Fatal("no certificate")
	}
	return pool
}

func TestClientCA_reloadsOnChange(t *testing.T) {
	first, _ := pair(t, 1, nextYear)
	second, _ := pair(t, 2, nextYear.AddDate(1, 0, 0))
	var log lockedBuffer
	ca, file := clientCA(t, first, &log)
	before := ca.Roots()
	if !before.Equal(poolOf(t, first)) {
		t.Fatal("the CA of the file is not used")
	}

	both := append(append([]byte{}, first...), second...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are in use", func() bool { return ca.Roots().Equal(poolOf(t, both)) })
	if !before.Equal(poolOf(t, first)) {
		t.Error("the reload changed the pool that it had returned before")
	}
	current := ca.Roots()
	if got := reloadsOf(t, ca, "success"); got != 1 {
		t.Errorf("got %v reloads, want 1", got)
	}

	for _, bad := range []string{"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		errors := reloadsOf(t, ca, "error")
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the bad file is counted", func() bool {
			return reloadsOf(t, ca, "error") == errors+1
		})
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the invalid file is logged", func() bool { return strings.Contains(log.String(), "keeping last valid version") })
	if ca.Roots() != current {
		t.Error("an invalid file replaced the last valid CAs, or the pool changed although the CA is the same")
	}

	if err := os.WriteFile(file, second, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is in use", func() bool { return ca.Roots().Equal(poolOf(t, second)) })
}

// TestClientCA_unchangedFileKeepsPool: a new pool would make the server verify the
// certificate of every connection again.
func TestClientCA_unchangedFileKeepsPool(t *testing.T) {
	content, _ := pair(t, 1, nextYear)
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := NewClientCA(file, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	before := ca.Roots()
	if changed, err := ca.reload(); changed || err != nil || ca.Roots() != before {
		t.Errorf("got changed %t, error %v, same pool %t; want false, no error, true", changed, err, ca.Roots() == before)
	}
}

func TestNewClientCA_invalidFile(t *testing.T) {
	certPEM, keyPEM := pair(t, 1, nextYear)
	for content, want := range map[string]string{
		"":                               "no PEM block",
		"no PEM":                         "no PEM block",
		string(certPEM[:60]):             "no PEM block",
		string(keyPEM):                   "PRIVATE KEY",
		string(certPEM) + string(keyPEM): "PRIVATE KEY",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "x509",
	} {
		file := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewClientCA(file, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: got %v, want an error that names the file and %q", content, err, want)
		}
	}
	_, err := NewClientCA("/nonexistent", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("no file: got %v", err)
	}
}

// FuzzClientCA checks that accepted content has a certificate, and that no content
// causes a panic.
func FuzzClientCA(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		pool, _, err := parseClientCA(content)
		if err == nil && pool.Equal(x509.NewCertPool()) {
			t.Error("content without a certificate is accepted")
		}
	})
}
