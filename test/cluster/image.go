package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/cluster/testimage"
)

// importTestImages builds the images of the tests and imports them into containerd.
func (n *node) importTestImages(ctx context.Context) error {
	file := filepath.Join(n.dir, "images.tar")
	if err := testimage.WriteArchive(file, n.programs); err != nil {
		return err
	}
	if err := importImage(ctx, containerdSocket, file); err != nil {
		return err
	}
	return os.Remove(file)
}

// loadBuilt loads the images that `make image` has built, if any.
func (c *cluster) loadBuilt(ctx context.Context) error {
	built, err := fs.Glob(os.DirFS(c.images), "*/*.tar")
	if err != nil {
		return err
	}
	for i := range built {
		built[i] = filepath.Join(c.images, built[i])
	}
	return c.load(ctx, built...)
}

// load loads image archives into the node. It returns an error if no cluster runs.
func (c *cluster) load(ctx context.Context, files ...string) error {
	holder, err := c.lockOwner()
	if err != nil {
		return err
	}
	if holder == 0 {
		return fmt.Errorf("load images: no cluster runs in %s; run `make cluster`", c.dir)
	}
	// /proc/PID/root is the file system of the node's first process.
	socket := filepath.Join("/proc", strconv.Itoa(holder), "root", containerdSocket)
	for _, file := range files {
		fmt.Fprintf(c.out, "image %s\n", filepath.Base(file))
		if err := importImage(ctx, socket, file); err != nil {
			return err
		}
	}
	return nil
}

func importImage(ctx context.Context, socket, file string) error {
	return ctr(ctx, socket, "--namespace", "k8s.io", "images", "import", "--snapshotter", "native", file)
}

// ctr runs ctr, the command-line client of containerd.
func ctr(ctx context.Context, socket string, args ...string) error {
	args = append([]string{"--address", socket}, args...)
	output, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput() //nolint:gosec // the arguments are this program's
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
