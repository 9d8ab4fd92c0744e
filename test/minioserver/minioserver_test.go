package minioserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStart_missingBinary(t *testing.T) {
	_, err := Start(t.Context(), Options{Binary: filepath.Join(t.TempDir(), "minio"), Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "make minio") {
		t.Errorf("got %v, want an error with `make minio`", err)
	}
}

func TestStart_serverExits(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "minio")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho minio: no space left on disk\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Binary: binary, Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no space left on disk") {
		t.Errorf("got %v, want an error with the exit status and the log", err)
	}
}
