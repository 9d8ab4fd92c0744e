package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRun(t *testing.T) {
	source, target := t.TempDir(), filepath.Join(t.TempDir(), "prose")
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(source, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/a.go", "// Package a is first.\n//\n//\tcode of it\npackage a\n\n//go:generate x y\nvar x = \"two words\" + `one\nand more` // why\nvar short = \"word\" // too\n")
	write("a/a_test.go", "package a\n\n// A test.\nvar y = \"not checked here\"\n")
	write("bin/b.go", "not Go\n")
	if err := run(source, target); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"comments/a/a.go.txt":      "Package a is first.\n\n\n\n\n\n\nwhy.\ntoo\n",
		"comments/a/a_test.go.txt": "\n\nA test.\n",
		"strings/a/a.go.txt":       "\n\n\n\n\n\ntwo words one\nand more\n",
	} {
		if got, err := os.ReadFile(filepath.Join(target, path)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(target, "strings/a/a_test.go.txt")); !os.IsNotExist(err) {
		t.Errorf("got %v for the strings of a test, want no file", err)
	}
}
