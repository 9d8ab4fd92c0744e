package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// archive returns a release archive with programs that print their names.
func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	entries := tar.NewWriter(zipped)
	for _, name := range names {
		content := "#!/bin/sh\necho " + name + "\n"
		if err := entries.WriteHeader(&tar.Header{Name: "controller-tools/envtest/" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(entries, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDownload(t *testing.T) {
	valid := archive(t, "etcd", "kube-apiserver", "kubectl")
	sum := func(content []byte) string { s := sha512.Sum512(content); return hex.EncodeToString(s[:]) }
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		version string
		index   http.HandlerFunc // nil for an index with the archive
		archive http.HandlerFunc // nil for a handler that sends content
		content []byte
		hash    string
		want    string // part of the error
	}{
		"valid archive":           {version: "v1.37.1", content: valid, hash: sum(valid)},
		"wrong checksum":          {version: "v1.37.1", content: valid, hash: sum([]byte("other")), want: "checksum mismatch"},
		"another minor version":   {version: "v1.36.1", content: valid, hash: sum(valid), want: "has no Kubernetes 1.37 for linux/amd64"},
		"program missing":         {version: "v1.37.1", content: archive(t, "etcd"), hash: sum(archive(t, "etcd")), want: "the archive has no kube-apiserver"},
		"not an archive":          {version: "v1.37.1", content: []byte("text"), hash: sum([]byte("text")), want: "unzip archive"},
		"index hangs":             {index: hang, want: errStalled.Error()},
		"index absent":            {index: http.NotFound, want: "404"},
		"archive hangs":           {version: "v1.37.1", archive: hang, want: errStalled.Error()},
		"archive hangs half way":  {version: "v1.37.1", archive: half(hang), want: errStalled.Error()},
		"archive ends half way":   {version: "v1.37.1", archive: half(func(http.ResponseWriter, *http.Request) {}), want: "unexpected EOF"},
		"archive that is removed": {version: "v1.37.1", archive: http.NotFound, want: "404"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			server := httptest.NewServer(mux)
			defer server.Close()
			file := "envtest-" + test.version + "-linux-amd64.tar.gz"
			if test.index == nil {
				test.index = func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprintf(w, "releases:\n  %s:\n    %s:\n      hash: %q\n      selfLink: %s/archive\n", test.version, file, test.hash, server.URL)
				}
			}
			if test.archive == nil {
				test.archive = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(test.content) }
			}
			mux.HandleFunc("/index", test.index)
			mux.HandleFunc("/archive", test.archive)

			directory := filepath.Join(t.TempDir(), "bin")
			d := download{
				index: server.URL + "/index", minor: "1.37", directory: directory, platform: platform{"linux", "amd64"},
				patience: 200 * time.Millisecond, progress: t.Output(),
			}
			version, err := d.run(t.Context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if entries, _ := os.ReadDir(directory); len(entries) != 0 {
					t.Errorf("got %d files, want none", len(entries))
				}
				return
			}
			if err != nil || version != "1.37.1" {
				t.Fatalf("got version %q, error %v", version, err)
			}
			for program := range programs {
				info, err := os.Stat(filepath.Join(directory, program))
				if err != nil || info.Mode().Perm()&0o100 == 0 {
					t.Errorf("%s: got %v, error %v, want an executable file", program, info, err)
				}
			}
		})
	}
}

// half returns a handler that sends fewer bytes than its Content-Length, and then calls then.
func half(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		then(w, r)
	}
}
