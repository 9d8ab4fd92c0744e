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

// downTimeout bounds what takes a second or two.
const downTimeout = time.Minute

// down ends the cluster and removes all that there is of it. It succeeds where
// there is none.
func (c *cluster) down(ctx context.Context) error {
	if err := checkRoot(); err != nil {
		return err
	}
	return c.clean(ctx)
}

// clean does so, whether the cluster runs, was ended, or has crashed.
func (c *cluster) clean(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dir, lockName)); errors.Is(err, os.ErrNotExist) {
		return nil // never was a cluster here, and what is there is somebody else's
	}
	holder, err := c.lockOwner()
	if err != nil {
		return err
	}
	if err := c.end(ctx, holder); err != nil {
		return err
	}
	// Nothing of the node is mounted here: its mounts were its own.
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the cluster's directory: %w", err)
	}
	return nil
}

// end ends the processes of the cluster, of which first is the first unless it is
// 0, and removes what the kernel keeps of them.
func (c *cluster) end(ctx context.Context, first int) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if first != 0 {
		// With the first process of their namespace the kernel kills all others.
		if err := unix.Kill(first, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the cluster's first process, %d: %w", first, err)
		}
		err := wait.PollUntilContextCancel(ctx, cleanInterval, true, func(context.Context) (bool, error) {
			holder, err := c.lockOwner()
			return holder == 0, err
		})
		if err != nil {
			return fmt.Errorf("wait for the end of the cluster: %w", err)
		}
	}
	return errors.Join(c.removeCgroups(ctx), c.removeLink(ctx))
}
