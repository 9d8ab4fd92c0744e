package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

func TestApply(t *testing.T) {
	ctx := t.Context()
	cp, err := controlplane.Start(ctx, controlplane.Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)

	t.Run("each example can be applied twice", func(t *testing.T) {
		namespaces, err := filepath.Glob(repopath.Path("examples", "*", "namespace.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(repopath.Path("examples", "*", "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Fatal("got no examples")
		}
		for range 2 {
			stored, err := Apply(ctx, cp.Config(), append(namespaces, files...)...)
			if err != nil {
				t.Fatal(err)
			}
			if len(stored) != len(namespaces)+len(files) {
				t.Errorf("got %d stored objects, want one for each of %q and %q", len(stored), namespaces, files)
			}
		}
	})

	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: test\n  namespace: default\n"
	for name, test := range map[string]struct{ content, want string }{
		"unknown field":   {configMap + "daata: {}\n", "daata"},
		"duplicate field": {configMap + "data:\n  a: b\n  a: c\n", "already set"},
		"unknown kind":    {strings.ReplaceAll(configMap, "ConfigMap", "ConfigMop"), "ConfigMop"},
		"two documents":   {configMap + "---\n" + strings.ReplaceAll(configMap, "name: test", "name: other"), ""},
		"empty documents": {"---\n" + configMap + "---\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.yaml")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			stored, err := Apply(ctx, cp.Config(), path)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && len(stored) != strings.Count(test.content, "ConfigMap"):
				t.Errorf("got %d stored objects", len(stored))
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error with %s", err, test.want)
			}
		})
	}
}
