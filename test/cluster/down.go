package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// downTimeout is the limit for down, which takes a second or two.
const downTimeout = time.Minute

// down stops the cluster and removes its processes, resources and files. It returns
// nil if there is no cluster.
func (c *cluster) down(ctx context.Context) error {
	if err := checkRoot(); err != nil {
		return err
	}
	return c.clean(ctx)
}

// clean is down for a cluster that runs, was stopped, or crashed.
func (c *cluster) clean(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dir, lockName)); errors.Is(err, os.ErrNotExist) {
		return nil // there was no cluster in this directory, so its files are not the cluster's
	}
	holder, err := c.lockOwner()
	if err != nil {
		return err
	}
	if err := c.end(ctx, holder); err != nil {
		return err
	}
	// The node's mounts are in its own namespace, so none is below this directory.
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove cluster directory: %w", err)
	}
	return nil
}

// end kills the processes of the cluster and removes its network interface and
// cgroups. first is the process ID of its first process, or 0 if there is none.
func (c *cluster) end(ctx context.Context, first int) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if first != 0 {
		// The kernel kills all processes of a PID namespace with its first process.
		if err := unix.Kill(first, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill first process %d of the cluster: %w", first, err)
		}
		err := wait.PollUntilContextCancel(ctx, cleanInterval, true, func(context.Context) (bool, error) {
			holder, err := c.lockOwner()
			return holder == 0, err
		})
		if err != nil {
			return fmt.Errorf("wait until the cluster's processes exit: %w", err)
		}
	}
	return errors.Join(c.removeCgroups(ctx), c.removeLink(ctx))
}
