package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// cleanInterval is how often removeCgroups and removeLink check whether the kernel
// has released a resource.
const cleanInterval = 20 * time.Millisecond

// hierarchies returns the mounts of cgroup hierarchies: one per controller in
// version 1, one in version 2, and both kinds on a hybrid system.
func hierarchies() ([]*mountinfo.Info, error) {
	return mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
}

// cgroup returns the name of the cluster's cgroup, the same in each hierarchy.
func (c *cluster) cgroup() string { return "pod-identity-webhook-cluster-" + c.id() }

// joinCgroups creates the cluster's cgroup in each hierarchy and moves this process
// into it. Child processes inherit it.
func (c *cluster) joinCgroups() error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range mounted {
		own := filepath.Join(hierarchy.Mountpoint, c.cgroup())
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all cgroups are
			return fmt.Errorf("create cgroup: %w", err)
		}
		prepare := delegateCPUs
		if hierarchy.FSType == "cgroup" {
			prepare = inheritCPUs
		}
		if err := prepare(hierarchy.Mountpoint, own); err != nil {
			return err
		}
		// The kernel reads 0 as the process that writes.
		if err := writeControl(own, "cgroup.procs", "0"); err != nil {
			return err
		}
	}
	return nil
}

// inheritCPUs copies the CPUs and memory nodes of the parent cgroup. In version 1,
// no process can join a cgroup without them.
func inheritCPUs(parent, own string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		content, err := os.ReadFile(filepath.Join(parent, file)) //nolint:gosec // a file of the kernel's
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := writeControl(own, file, string(content)); err != nil {
			return err
		}
	}
	return nil
}

// delegateCPUs enables, for the cgroups below a root of version 2, the controllers
// that runc needs for limits. systemd does the same.
func delegateCPUs(root, _ string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")) //nolint:gosec // a file of the kernel's
	if err != nil {
		return err
	}
	lent, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control")) //nolint:gosec // the same
	if err != nil {
		return err
	}
	for _, controller := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(strings.Fields(string(available)), controller) || slices.Contains(strings.Fields(string(lent)), controller) {
			continue
		}
		if err := writeControl(root, "cgroup.subtree_control", "+"+controller); err != nil {
			return fmt.Errorf("%w; in a container, move the processes from the root cgroup into a child cgroup first", err)
		}
	}
	return nil
}

func writeControl(cgroup, file, content string) error {
	if err := os.WriteFile(filepath.Join(cgroup, file), []byte(content), 0); err != nil { //nolint:gosec // a file of the kernel's
		return fmt.Errorf("write cgroup file: %w", err)
	}
	return nil
}

// mountCgroups mounts each hierarchy again from this process's cgroup namespace,
// where the cluster's cgroup is the root. The cgroups that containerd creates for
// pods are then always below it.
func mountCgroups() error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range mounted {
		options := ""
		if hierarchy.FSType == "cgroup" {
			if options, err = controllers(hierarchy.VFSOptions); err != nil {
				return err
			}
		}
		// The kernel rejects a second mount of a hierarchy at the same place.
		if err := unix.Unmount(hierarchy.Mountpoint, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount cgroups at %s: %w", hierarchy.Mountpoint, err)
		}
		if err := unix.Mount("cgroup", hierarchy.Mountpoint, hierarchy.FSType, 0, options); err != nil {
			return fmt.Errorf("mount cgroups at %s (%s): %w", hierarchy.Mountpoint, options, err)
		}
		if hierarchy.FSType == "cgroup2" {
			if err := delegate(hierarchy.Mountpoint); err != nil {
				return err
			}
		}
	}
	return nil
}

// controllers returns the mount options that identify a hierarchy.
func controllers(options string) (string, error) {
	known, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return "", err
	}
	var names []string
	for line := range bytes.Lines(known) {
		if name, _, found := strings.Cut(string(line), "\t"); found {
			names = append(names, name)
		}
	}
	var kept []string
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case slices.Contains(names, option):
			kept = append(kept, option)
		case strings.HasPrefix(option, "name="):
			kept = append(kept, "none", option)
		}
	}
	return strings.Join(kept, ","), nil
}

// delegate enables all controllers for the cgroups below a root of version 2. It
// first moves the processes out of the root: the kernel allows none in it.
func delegate(root string) error {
	parts := filepath.Join(root, "parts")
	if err := os.Mkdir(parts, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all cgroups are
		return fmt.Errorf("create cgroup: %w", err)
	}
	members, err := os.ReadFile(filepath.Join(root, "cgroup.procs")) //nolint:gosec // a file of the kernel's
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(members)) {
		if err := writeControl(parts, "cgroup.procs", pid); err != nil {
			return err
		}
	}
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")) //nolint:gosec // the same
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(available)) {
		if err := writeControl(root, "cgroup.subtree_control", "+"+controller); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups removes the cluster's cgroups. It waits until they have no processes.
func (c *cluster) removeCgroups(ctx context.Context) error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range mounted {
		own := filepath.Join(hierarchy.Mountpoint, c.cgroup())
		var last error
		err := wait.PollUntilContextCancel(ctx, cleanInterval, true, func(context.Context) (bool, error) {
			last = removeTree(own)
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("remove cgroup %s: %w", own, errors.Join(err, last))
		}
	}
	return nil
}

// removeTree removes a cgroup and its child cgroups. The kernel removes their files.
func removeTree(cgroup string) error {
	entries, err := os.ReadDir(cgroup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(cgroup, entry.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(cgroup)
}
