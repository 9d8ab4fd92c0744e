package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pair returns a self-signed certificate with the serial number and its key.
func pair(t *testing.T, serial int64, expiry time.Time) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: expiry,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// directory is a mounted Secret as the kubelet makes it. The files tls.crt and tls.key
// are links into ..data, which is a link to a directory. Each change replaces that
// directory.
type directory struct {
	t    *testing.T
	root string
	n    int
}

func newFolder(t *testing.T) *directory { return &directory{t: t, root: t.TempDir()} }

func (f *directory) cert() string { return filepath.Join(f.root, "tls.crt") }
func (f *directory) key() string  { return filepath.Join(f.root, "tls.key") }

func (f *directory) swap(certPEM, keyPEM []byte) {
	f.t.Helper()
	f.n++
	version := filepath.Join(f.root, strings.Repeat("v", f.n))
	f.must(os.Mkdir(version, 0o700))
	f.must(os.WriteFile(filepath.Join(version, "tls.crt"), certPEM, 0o600))
	f.must(os.WriteFile(filepath.Join(version, "tls.key"), keyPEM, 0o600))
	f.must(os.Symlink(version, filepath.Join(f.root, "..data_tmp")))
	f.must(os.Rename(filepath.Join(f.root, "..data_tmp"), filepath.Join(f.root, "..data")))
	if f.n == 1 {
		f.must(os.Symlink(filepath.Join("..data", "tls.crt"), f.cert()))
		f.must(os.Symlink(filepath.Join("..data", "tls.key"), f.key()))
	}
}

func (f *directory) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// lockedBuffer is a log that a test reads while others write.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// serve watches the files, and also reads them at the interval.
func serve(t *testing.T, f *directory, log io.Writer, interval time.Duration) *FileSource {
	t.Helper()
	files, err := NewFileSource(f.cert(), f.key(), slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	files.pollInterval = interval
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { files.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return files
}

func serialOf(t *testing.T, files *FileSource) int64 {
	t.Helper()
	certificate, err := files.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.Leaf.SerialNumber.Int64()
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

var nextYear = time.Now().AddDate(1, 0, 0)

func TestFileSource_mountedSecret(t *testing.T) {
	f := newFolder(t)
	f.swap(pair(t, 1, nextYear))
	var log lockedBuffer
	files := serve(t, f, &log, time.Hour)
	if got := serialOf(t, files); got != 1 {
		t.Fatalf("serial %d, want 1", got)
	}
	f.swap(pair(t, 2, nextYear))
	eventually(t, "the second certificate is served", func() bool { return serialOf(t, files) == 2 })
}

func TestFileSource_plainFiles(t *testing.T) {
	f := newFolder(t)
	write := func(certPEM, keyPEM []byte) {
		f.must(os.WriteFile(f.cert(), certPEM, 0o600))
		f.must(os.WriteFile(f.key(), keyPEM, 0o600))
	}
	write(pair(t, 1, nextYear))
	var log lockedBuffer
	files := serve(t, f, &log, time.Hour)
	write(pair(t, 2, nextYear))
	eventually(t, "the second certificate is served", func() bool { return serialOf(t, files) == 2 })
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("a pair that was written in two steps is logged as an error: %s", log.String())
	}
}

func TestFileSource_unrelatedEvents(t *testing.T) {
	f := newFolder(t)
	f.swap(pair(t, 1, nextYear))
	files := serve(t, f, io.Discard, time.Hour)
	f.swap(pair(t, 2, nextYear))
	eventually(t, "the second certificate is served", func() bool {
		f.must(os.WriteFile(filepath.Join(f.root, "neighbour.log"), nil, 0o600))
		return serialOf(t, files) == 2
	})
}

func TestFileSource_replacedDirectory(t *testing.T) {
	f := newFolder(t)
	f.root = filepath.Join(f.root, "certificate")
	f.must(os.Mkdir(f.root, 0o700))
	write := func(certPEM, keyPEM []byte) {
		f.must(os.WriteFile(f.cert(), certPEM, 0o600))
		f.must(os.WriteFile(f.key(), keyPEM, 0o600))
	}
	write(pair(t, 1, nextYear))
	files := serve(t, f, io.Discard, 10*time.Millisecond)
	for serial := range int64(3) {
		f.must(os.RemoveAll(f.root))
		f.must(os.Mkdir(f.root, 0o700))
		write(pair(t, serial+2, nextYear))
		eventually(t, "the new certificate is served", func() bool { return serialOf(t, files) == serial+2 })
	}
}

func TestFileSource_keepsLastValidPair(t *testing.T) {
	f := newFolder(t)
	f.swap(pair(t, 1, nextYear))
	var log lockedBuffer
	files := serve(t, f, &log, time.Hour)

	foreignCert, _ := pair(t, 2, nextYear)
	_, foreignKey := pair(t, 3, nextYear)
	f.swap(foreignCert, foreignKey)
	eventually(t, "the invalid pair is logged", func() bool { return strings.Contains(log.String(), "keeping last valid version") })
	if got := serialOf(t, files); got != 1 {
		t.Errorf("serial %d is served, want 1", got)
	}
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("the log holds a key")
	}
	f.swap(pair(t, 4, nextYear))
	eventually(t, "the next valid certificate is served", func() bool { return serialOf(t, files) == 4 })
}

func TestNewFileSource_invalidFiles(t *testing.T) {
	f := newFolder(t)
	newFiles := func() error {
		_, err := NewFileSource(f.cert(), f.key(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		return err
	}
	if err := newFiles(); err == nil || !strings.Contains(err.Error(), f.cert()) || !strings.Contains(err.Error(), f.key()) {
		t.Errorf("no files: got %v, want an error that names both", err)
	}
	f.swap([]byte("no"), []byte("PEM"))
	if err := newFiles(); err == nil || !strings.Contains(err.Error(), f.cert()) {
		t.Errorf("no PEM: got %v, want an error that names the file", err)
	}
}

func TestFileSource_expiredCertificate(t *testing.T) {
	f := newFolder(t)
	f.swap(pair(t, 1, nextYear))
	var log lockedBuffer
	files := serve(t, f, &log, time.Hour)
	files.now = func() time.Time { return nextYear.Add(-time.Minute) }
	if err := files.Valid(); err != nil {
		t.Errorf("a minute before the expiry: %v", err)
	}
	files.now = func() time.Time { return nextYear.Add(time.Minute) }
	if err := files.Valid(); err == nil {
		t.Error("a minute after the expiry: got no error")
	}
}
