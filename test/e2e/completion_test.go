package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// pluginBinary returns the path of the built kubectl irsa.
func pluginBinary(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("KUBECTL_IRSA")
	if binary == "" {
		binary = repopath.Path("bin", "kubectl-irsa")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("find kubectl-irsa: %v; run `make build`", err)
	}
	return binary
}

// pluginPath returns a PATH with the plugin and its completion script from
// docs/kubectl-irsa.md.
func pluginPath(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(repopath.Path("docs", "kubectl-irsa.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "kubectl_complete-irsa <<'END'\n")
	script, _, ended := strings.Cut(rest, "END\n")
	if !found || !ended {
		t.Fatal("docs/kubectl-irsa.md has no script kubectl_complete-irsa")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl_complete-irsa"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pluginBinary(t), filepath.Join(dir, "kubectl-irsa")); err != nil {
		t.Fatal(err)
	}
	return dir + string(filepath.ListSeparator) + os.Getenv("PATH")
}

// kubectl runs kubectl as the cluster's administrator.
func kubectl(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(controlplane.DefaultAssets(), "kubectl"), args...)
	command.Env = []string{"PATH=" + path, "KUBECONFIG=" + cluster.Kubeconfig(), "HOME=" + t.TempDir()}
	answer, err := command.CombinedOutput()
	return string(answer), err
}

func TestPlugin_completion(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	for _, name := range []string{"cart", "till"} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	path := pluginPath(t)
	for name, test := range map[string]struct {
		typed []string
		want  []string
	}{
		"commands":                       {[]string{"irsa", ""}, []string{"provider", "serviceaccount", "version"}},
		"subcommands":                    {[]string{"irsa", "sa", ""}, []string{"create", "delete", "list"}},
		"namespaces":                     {[]string{"irsa", "sa", "create", "-n", ""}, []string{namespace, "default"}},
		"ServiceAccounts of a namespace": {[]string{"irsa", "sa", "create", "-n", namespace, ""}, []string{"cart", "till"}},
		"ServiceAccounts to delete":      {[]string{"irsa", "serviceaccount", "delete", "-n", namespace, ""}, []string{"cart", "till"}},
		"contexts":                       {[]string{"irsa", "provider", "create", "--context", ""}, []string{"pod-identity-webhook-test"}},
		"output formats":                 {[]string{"irsa", "provider", "show", "-o", ""}, []string{"json", "yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := kubectl(t, path, append([]string{"__complete"}, test.typed...)...)
			if err != nil {
				t.Fatalf("%v: %s", err, answer)
			}
			var offered []string
			for line := range strings.Lines(answer) {
				completion, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				offered = append(offered, completion)
			}
			for _, want := range test.want {
				if !slices.Contains(offered, want) {
					t.Errorf("%s is not among %q", want, offered)
				}
			}
		})
	}
}

func TestPlugin(t *testing.T) {
	answer, err := kubectl(t, pluginPath(t), "irsa", "version")
	if err != nil || !strings.HasPrefix(answer, "kubectl irsa ") {
		t.Errorf("got %s, %v", answer, err)
	}
}
