package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/cluster/testimage"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

const (
	// kindName is the name of the kind cluster. make kind-up uses another.
	kindName = "irsa-e2e"
	// nodePlugin is the path of kubectl irsa on the node.
	nodePlugin = "/usr/local/bin/kubectl-irsa"
)

// kindHost is a kind cluster.
type kindHost struct {
	// port is the port of local-sts on this machine.
	port int
	// container is the ID of the node's container, once it has existed.
	container string
}

// command returns a command of the program of make kind-up.
func (h *kindHost) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, repopath.Path("bin", "kind", "up"), append([]string{
		"-name=" + kindName, "-kubeconfig=" + filepath.Join(dir, "kubeconfig"), "-kind=" + repopath.Path("bin", "kind", "kind"),
		"-node-image=" + os.Getenv("KIND_NODE_IMAGE"), "-built-node-image=" + os.Getenv("BUILT_NODE_IMAGE"),
		"-config=" + filepath.Join(dir, "cluster.yaml"),
	}, args...)...)
}

// run runs a command of the program of make kind-up and streams its output.
func (h *kindHost) run(ctx context.Context, dir string, args ...string) error {
	command := h.command(ctx, dir, args...)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("kind %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (h *kindHost) up(ctx context.Context, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if h.port, err = freeport.FreePort(ctx); err != nil {
		return err
	}
	if err := h.writeConfiguration(filepath.Join(dir, "cluster.yaml")); err != nil {
		return err
	}
	if err := h.run(ctx, dir, "create"); err != nil {
		return err
	}
	listed, err := h.list(ctx, dir)
	if err != nil {
		return err
	}
	// A line is: container NAME ID.
	if fields := strings.Fields(listed[0]); len(fields) == 3 {
		h.container = fields[2]
	}
	if len(h.container) < 64 {
		return fmt.Errorf("got resources %q, want the container of the node with its ID", listed)
	}
	images := filepath.Join(dir, "images.tar")
	if err := testimage.WriteArchive(images, repopath.Path("bin", "cluster-images")); err != nil {
		return err
	}
	built, err := filepath.Glob(repopath.Path("bin", "image", "*", "*.tar"))
	if err != nil {
		return err
	}
	return h.run(ctx, dir, append([]string{"load", images}, built...)...)
}

// writeConfiguration writes the configuration of make kind-up, with a port of this machine
// for local-sts.
func (h *kindHost) writeConfiguration(file string) error {
	content, err := os.ReadFile(repopath.Path("deploy", "kind", "cluster.yaml"))
	if err != nil {
		return err
	}
	var configuration map[string]any
	if err := yaml.Unmarshal(content, &configuration); err != nil {
		return err
	}
	node := configuration["nodes"].([]any)[0].(map[string]any)
	node["extraPortMappings"] = []any{map[string]any{"containerPort": stsPort, "hostPort": h.port, "listenAddress": "127.0.0.1"}}
	if content, err = yaml.Marshal(configuration); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

func (h *kindHost) down(ctx context.Context, dir string) error {
	if err := h.run(ctx, dir, "down"); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (h *kindHost) load(ctx context.Context, archive string) error {
	return h.run(ctx, filepath.Dir(world.Kubeconfig), "load", archive)
}

// prepare installs kubectl irsa on the node, because this machine cannot resolve the name
// of the issuer. The node can, with entries in its file hosts.
func (h *kindHost) prepare(ctx context.Context, _ string) (pods, machine string, err error) {
	plugin, err := os.ReadFile(world.Plugin)
	if err != nil {
		return "", "", err
	}
	install := fmt.Sprintf("cat > %[1]s && chmod +x %[1]s", nodePlugin)
	for _, service := range []struct{ namespace, name, names string }{
		{metav1.NamespaceDefault, "kubernetes", "kubernetes.default.svc.cluster.local"},
		{walkthrough.STSNamespace, "local-sts", "local-sts.local-sts.svc"},
	} {
		found, err := world.client.CoreV1().Services(service.namespace).Get(ctx, service.name, metav1.GetOptions{})
		if err != nil {
			return "", "", err
		}
		install += fmt.Sprintf(" && echo %s %s >> /etc/hosts", found.Spec.ClusterIP, service.names)
	}
	command := h.command(ctx, filepath.Dir(world.Kubeconfig), "exec", "sh", "-c", install)
	command.Stdin = bytes.NewReader(plugin)
	if output, err := command.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("install kubectl irsa on the node: %w: %s", err, output)
	}
	return walkthrough.STSURL, fmt.Sprintf("http://127.0.0.1:%d", h.port), nil
}

func (h *kindHost) irsa(ctx context.Context, args ...string) *exec.Cmd {
	onNode := append([]string{"exec", "env", "-i"}, world.Environment(world.sts)...)
	onNode = append(onNode, "HOME=/root", nodePlugin, "--kubeconfig", "/etc/kubernetes/admin.conf")
	return h.command(ctx, filepath.Dir(world.Kubeconfig), append(onNode, args...)...)
}

func (h *kindHost) issuerCA() string { return "/etc/kubernetes/pki/ca.crt" }

// list returns the containers and volumes of the cluster.
func (h *kindHost) list(ctx context.Context, dir string) ([]string, error) {
	command := h.command(ctx, dir, "resources")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	listed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list the resources of the kind cluster: %w: %s", err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(listed)), "\n"), nil
}

// resources returns the containers and volumes of the cluster, and the mounts, cgroups and
// processes with the ID of its container. The image and the network of kind remain.
func (h *kindHost) resources(ctx context.Context, dir string) (map[string]bool, error) {
	listed, err := h.list(ctx, dir)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, line := range listed {
		if line != "" {
			found[line] = true
		}
	}
	if h.container == "" {
		return found, nil
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	for _, mount := range mounts {
		if strings.Contains(mount.Mountpoint, h.container) {
			found["mount "+mount.Mountpoint] = true
		}
	}
	if err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a cgroup of another program
		}
		if err == nil && entry.IsDir() && strings.Contains(entry.Name(), h.container) {
			found["cgroup "+path] = true
		}
		return err
	}); err != nil {
		return nil, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		cgroups, _ := os.ReadFile(filepath.Join(process, "cgroup"))
		// A zombie process has no command line.
		if len(command) > 0 && strings.Contains(string(command)+string(cgroups), h.container) {
			found["process "+process] = true
		}
	}
	return found, nil
}
