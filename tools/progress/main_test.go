package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		source string
		code   int
		want   string
	}{
		"valid":   {"package main\n\nfunc main() {}\n", 0, "built x: "},
		"invalid": {"package main\n\nfunc main() { undefined() }\n", 1, "undefined: undefined"},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			for file, content := range map[string]string{"go.mod": "module example.com/x\n", "main.go": test.source} {
				if err := os.WriteFile(filepath.Join(directory, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(directory)
			t.Setenv("GOWORK", "off")
			var out strings.Builder
			if code := run(t.Context(), "go", []string{"-o", "program", "example.com/x"}, &out, false); code != test.code {
				t.Errorf("got exit code %d, want %d", code, test.code)
			}
			if !strings.Contains(out.String(), test.want) {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
			if _, err := os.Stat("program"); (err == nil) != (test.code == 0) {
				t.Errorf("program: %v", err)
			}
		})
	}
}

func TestCount(t *testing.T) {
	p := &printer{}
	messages := p.count(strings.NewReader("fmt\nk8s.io/api/core/v1\n# k8s.io/x\nx.go:1:2: no\nk8s.io/y\n"))
	if got, want := string(messages), "# k8s.io/x\nx.go:1:2: no\n"; got != want || p.compiled.Load() != 3 {
		t.Errorf("got %d packages and %q, want 3 and %q", p.compiled.Load(), got, want)
	}
}
