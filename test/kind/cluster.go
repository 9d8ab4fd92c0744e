package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/kind/engine"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// cluster is a kind cluster, which may not exist yet.
type cluster struct {
	walkthrough.Cluster
	// name is the name of the cluster, and configuration the file with its configuration.
	name, configuration string
	// kind is the kind program.
	kind string
	// nodeImage is the image of the node. If it is empty, prepare chooses one.
	nodeImage string
	// builtNodeImage is the image that make kind-image builds.
	builtNodeImage string
	engine         engine.Engine
}

// up creates or updates the cluster and its applications, and prints the pods.
func (c *cluster) up(ctx context.Context) error {
	if err := c.create(ctx); err != nil {
		return err
	}
	c.Load = func(ctx context.Context, archive string) error { return c.load(ctx, archive) }
	if err := c.Up(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\nTo use the cluster:    export KUBECONFIG=%s\nTo delete the cluster: make kind-down\n", c.Kubeconfig)
	return nil
}

// create creates the cluster, if it does not exist, and writes its kubeconfig.
func (c *cluster) create(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "== cluster %s\n", c.name)
	clusters, err := walkthrough.Output(ctx, c.kind, "get", "clusters")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.Kubeconfig), 0o700); err != nil {
		return fmt.Errorf("create directory of kubeconfig: %w", err)
	}
	if slices.Contains(strings.Fields(string(clusters)), c.name) {
		return walkthrough.Run(ctx, c.Out, c.kind, "export", "kubeconfig", "--name", c.name, "--kubeconfig", c.Kubeconfig)
	}
	return walkthrough.Run(ctx, c.Out, c.kind, "create", "cluster", "--name", c.name, "--image", c.nodeImage,
		"--config", c.configuration, "--kubeconfig", c.Kubeconfig, "--wait", "3m")
}

// load loads image archives into the node.
func (c *cluster) load(ctx context.Context, archives ...string) error {
	if err := c.selectEngine(ctx); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := walkthrough.Run(ctx, c.Out, c.kind, "load", "image-archive", archive, "--name", c.name); err != nil {
			return err
		}
	}
	return nil
}

// node returns the name of the node and of its container.
func (c *cluster) node() string { return c.name + "-control-plane" }

// exec runs a command on the node, in place of this process.
func (c *cluster) exec(ctx context.Context, args ...string) error {
	if err := c.selectEngine(ctx); err != nil {
		return err
	}
	path, err := exec.LookPath(string(c.engine))
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{path, "exec", "--interactive", c.node()}, args...), os.Environ()) //nolint:gosec // the user says which command
}

// resources prints the container of the node and its volumes.
func (c *cluster) resources(ctx context.Context) error {
	if err := c.selectEngine(ctx); err != nil {
		return err
	}
	for _, list := range [][]string{
		{"ps", "--all", "--no-trunc", "--filter", "label=io.x-k8s.kind.cluster=" + c.name, "--format", "container {{.Names}} {{.ID}}"},
		// kind creates the volume of a podman node with this label. Docker removes the
		// volume with the container.
		{"volume", "ls", "--filter", "label=" + c.node(), "--format", "volume {{.Name}}"},
	} {
		listed, err := c.engine.Output(ctx, list...)
		if err != nil {
			return err
		}
		if _, err := c.Out.Write(listed); err != nil {
			return err
		}
	}
	return nil
}

// down deletes the cluster. It returns nil if the cluster does not exist.
func (c *cluster) down(ctx context.Context) error {
	if err := c.selectEngine(ctx); err != nil {
		return err
	}
	return walkthrough.Run(ctx, c.Out, c.kind, "delete", "cluster", "--name", c.name, "--kubeconfig", c.Kubeconfig)
}
