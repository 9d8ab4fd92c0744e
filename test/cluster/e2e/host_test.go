package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// host starts the cluster of the tests on this machine, with its files in a directory.
type host interface {
	// up starts the cluster, loads all images, and writes the file kubeconfig.
	up(ctx context.Context, dir string) error
	// down stops the cluster and removes its resources. It returns nil if there is none.
	down(ctx context.Context, dir string) error
	// load loads an image archive into the node.
	load(ctx context.Context, archive string) error
	// prepare prepares irsa for the address of local-sts on the node. It returns the URLs
	// of local-sts for pods and for this machine.
	prepare(ctx context.Context, address string) (pods, machine string, err error)
	// irsa returns the command kubectl irsa for the administrator of local-sts.
	irsa(ctx context.Context, args ...string) *exec.Cmd
	// issuerCA returns the file of the CA of the issuer's server, for irsa.
	issuerCA() string
	// resources returns the resources of clusters on this machine.
	resources(ctx context.Context, dir string) (map[string]bool, error)
}

func newHost(name string) (host, error) {
	switch name {
	case "cluster":
		return clusterHost{}, nil
	case "kind":
		return new(kindHost), nil
	default:
		return nil, fmt.Errorf("unknown cluster %q, want cluster or kind", name)
	}
}

// clusterHost is the cluster of make cluster.
type clusterHost struct{}

func (clusterHost) up(ctx context.Context, dir string) error { return clusterCommand(ctx, dir, "up") }

func (clusterHost) down(ctx context.Context, dir string) error {
	return clusterCommand(ctx, dir, "down")
}

func (clusterHost) load(ctx context.Context, archive string) error {
	return clusterCommand(ctx, filepath.Dir(world.Kubeconfig), "load", archive)
}

func (clusterHost) prepare(_ context.Context, address string) (pods, machine string, err error) {
	url := fmt.Sprintf("http://%s:%d", address, stsPort)
	return url, url, nil
}

func (clusterHost) irsa(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, world.Plugin, append([]string{"--kubeconfig", world.Kubeconfig}, args...)...)
	command.Env = world.Environment(world.localSTS)
	return command
}

func (clusterHost) issuerCA() string {
	return filepath.Join(filepath.Dir(world.Kubeconfig), "plane", "apiserver.crt")
}

func (clusterHost) resources(_ context.Context, dir string) (map[string]bool, error) {
	return leakedResources(dir)
}

// clusterCommand runs the program of make cluster with a directory.
func clusterCommand(ctx context.Context, dir string, args ...string) error {
	return walkthrough.Run(ctx, os.Stderr, repopath.Path("bin", "cluster-up"), append([]string{"-dir=" + dir, "-assets=" + assets()}, args...)...)
}

// leakedResources returns the resources of all clusters on this machine: interfaces,
// cgroups, the processes in them, and mounts below dir.
func leakedResources(dir string) (map[string]bool, error) {
	found := map[string]bool{}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, "irsa-") {
			found["interface "+link.Attrs().Name] = true
		}
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	for _, mount := range mounts {
		if strings.HasPrefix(mount.Mountpoint, dir) {
			found["mount "+mount.Mountpoint] = true
		}
		if !strings.HasPrefix(mount.FSType, "cgroup") {
			continue
		}
		cgroups, err := fs.Glob(os.DirFS(mount.Mountpoint), "pod-identity-webhook-cluster-*")
		if err != nil {
			return nil, err
		}
		for _, cgroup := range cgroups {
			found["cgroup "+filepath.Join(mount.Mountpoint, cgroup)] = true
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		in, err := os.ReadFile(process)
		// A zombie process has no command line.
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(process), "cmdline"))
		if err == nil && len(command) > 0 && strings.Contains(string(in), "pod-identity-webhook-cluster-") {
			found["process "+filepath.Dir(process)] = true
		}
	}
	return found, nil
}

// expectNoLeaks returns an error if there are resources that are not in before, or
// if dir exists.
func expectNoLeaks(ctx context.Context, host host, dir string, before map[string]bool) error {
	after, err := host.resources(ctx, dir)
	if err != nil {
		return err
	}
	var left []error
	for what := range after {
		if !before[what] {
			left = append(left, fmt.Errorf("leaked resource: %s", what))
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, fmt.Errorf("leaked directory %s: %w", dir, err))
	}
	return errors.Join(left...)
}
