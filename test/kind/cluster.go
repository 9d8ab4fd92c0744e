package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// clusterName is the name in deploy/kind/cluster.yaml.
const clusterName = "pod-identity-webhook"

// cluster is a kind cluster, which may not exist yet. It uses the docker and kind
// programs in the PATH.
type cluster struct{ walkthrough.Cluster }

// up creates or updates the cluster and its applications, and prints the pods.
func (c *cluster) up(ctx context.Context) error {
	if err := check(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "== cluster %s\n", clusterName)
	if err := c.create(ctx); err != nil {
		return err
	}
	c.Load = c.load
	if err := c.Up(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\nTo use the cluster:    export KUBECONFIG=%s\nTo delete the cluster: make kind-down\n", c.Kubeconfig)
	return nil
}

// down deletes the cluster. It returns nil if the cluster does not exist.
func (c *cluster) down(ctx context.Context) error {
	if err := check(ctx); err != nil {
		return err
	}
	return walkthrough.Run(ctx, c.Out, "kind", "delete", "cluster", "--name", clusterName, "--kubeconfig", c.Kubeconfig)
}

func (c *cluster) create(ctx context.Context) error {
	clusters, err := walkthrough.Output(ctx, "kind", "get", "clusters")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.Kubeconfig), 0o700); err != nil {
		return fmt.Errorf("create directory of kubeconfig: %w", err)
	}
	if slices.Contains(strings.Fields(string(clusters)), clusterName) {
		return walkthrough.Run(ctx, c.Out, "kind", "export", "kubeconfig", "--name", clusterName, "--kubeconfig", c.Kubeconfig)
	}
	return walkthrough.Run(ctx, c.Out, "kind", "create", "cluster", "--name", clusterName,
		"--config", repopath.Path("deploy", "kind", "cluster.yaml"), "--kubeconfig", c.Kubeconfig, "--wait", "3m")
}

// load loads an image into the node.
func (c *cluster) load(ctx context.Context, archive string) error {
	return walkthrough.Run(ctx, c.Out, "kind", "load", "image-archive", archive, "--name", clusterName)
}
