package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnHostNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		want    bool
	}{
		"a pod with hostNetwork":         {"# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n", true},
		"a pod of the pod network":       {"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n", false},
		"a machine":                      {"127.0.0.1 localhost\n# Kubernetes-managed hosts file (host network).\n", false},
		"an empty file":                  {"", false},
		"a line that is longer than any": {string(make([]byte, 1<<17)), false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hosts")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := onHostNetwork(file); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
	if onHostNetwork(filepath.Join(t.TempDir(), "absent")) {
		t.Error("got true for a file that does not exist, want false")
	}
}
