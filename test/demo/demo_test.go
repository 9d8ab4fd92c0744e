package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

func TestDemo(t *testing.T) {
	for name, test := range map[string]struct {
		verbose  bool
		maxLines int
	}{
		"on one screen": {false, 48},
		"verbose":       {true, 100},
	} {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			temp := tempDir(t)
			err := demo(t.Context(), screen{out: &output, verbose: test.verbose}, defaults())
			t.Logf("\n%s", output.String())
			if err != nil {
				t.Error(err)
			}
			if got := strings.Count(output.String(), "✓"); got != 9 {
				t.Errorf("got %d checks, want 9", got)
			}
			if got := strings.Count(output.String(), "\n"); got > test.maxLines {
				t.Errorf("got %d lines, want at most %d", got, test.maxLines)
			}
			// Every JWT starts with eyJ, the base64 of {".
			if strings.Contains(output.String(), "eyJ") {
				t.Error("the output shows a token")
			}
			wantEmpty(t, temp)
		})
	}
}

func TestDemo_noRole(t *testing.T) {
	temp := tempDir(t)
	o := defaults()
	o.example = exampleWithoutRole(t)
	if err := demo(t.Context(), screen{out: t.Output()}, o); err == nil {
		t.Error("got no error")
	}
	wantEmpty(t, temp)
}

func TestDemo_interrupted(t *testing.T) {
	for _, shown := range []string{"A pod gets", "control plane started", "webhook started", "another terminal"} {
		t.Run("after "+shown, func(t *testing.T) {
			temp := tempDir(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := defaults()
			o.up = true
			err := demo(ctx, screen{out: &trigger{text: shown, do: cancel}, verbose: true}, o)
			if up := shown == "another terminal"; up && err != nil || !up && !errors.Is(err, errInterrupted) {
				t.Errorf("got %v", err)
			}
			wantEmpty(t, temp)
		})
	}
}

// trigger calls do when text is written to it.
type trigger struct {
	text string
	do   func()
}

func (t *trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), t.text) {
		t.do()
	}
	return len(p), nil
}

func defaults() options {
	return options{
		assets:   controlplane.DefaultAssets(),
		webhook:  webhookprocess.DefaultBinary(),
		localSTS: stsprocess.DefaultBinary(),
		plugin:   repopath.Path("bin", "kubectl-irsa"),
		example:  repopath.Path("examples", "cloudwatch-agent"),
	}
}

// tempDir sets TMPDIR to a new directory and returns it.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("got files %v, want all files removed", left)
	}
}

func exampleWithoutRole(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(defaults().example)); err != nil {
		t.Fatal(err)
	}
	account := filepath.Join(dir, "serviceaccount.yaml")
	content, err := os.ReadFile(account)
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte(roleAnnotation), []byte("example.com/other"))
	if err := os.WriteFile(account, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
