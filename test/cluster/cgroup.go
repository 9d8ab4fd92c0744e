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

// cleanInterval is how often it is looked whether the kernel has done with
// something.
const cleanInterval = 20 * time.Millisecond

// hierarchies are the mounted ones: one for each controller in version 1 of
// cgroups, one in version 2, and where both are, both.
func hierarchies() ([]*mountinfo.Info, error) {
	return mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
}

// cgroup is the name, in each hierarchy, of the one that all of the cluster is in.
func (c *cluster) cgroup() string { return "pod-identity-webhook-cluster-" + c.id() }

// joinCgroups makes this process, and all that it starts, members of the cluster's
// own cgroup.
func (c *cluster) joinCgroups() error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range mounted {
		own := filepath.Join(hierarchy.Mountpoint, c.cgroup())
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all cgroups are
			return fmt.Errorf("make a cgroup: %w", err)
		}
		prepare := delegateCPUs
		if hierarchy.FSType == "cgroup" {
			prepare = inheritCPUs
		}
		if err := prepare(hierarchy.Mountpoint, own); err != nil {
			return err
		}
		// 0 is whoever writes it.
		if err := writeControl(own, "cgroup.procs", "0"); err != nil {
			return err
		}
	}
	return nil
}

// inheritCPUs gives a cgroup what no process can be in it without, in version 1.
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

// delegateCPUs lets the cgroups below a root of version 2 have the controllers that runc
// sets limits by, as systemd does, where that has not been done.
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
			return fmt.Errorf("%w; in a container, whose processes are in the root of its cgroups, they have to be moved into one below", err)
		}
	}
	return nil
}

func writeControl(cgroup, file, content string) error {
	if err := os.WriteFile(filepath.Join(cgroup, file), []byte(content), 0); err != nil { //nolint:gosec // a file of the kernel's
		return fmt.Errorf("configure a cgroup: %w", err)
	}
	return nil
}

// mountCgroups mounts each hierarchy anew, as this process's namespace of cgroups
// has it: with the cluster's own as the root. So whatever containerd calls the
// cgroups of pods, they are in it.
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
		// The kernel mounts nothing on itself.
		if err := unix.Unmount(hierarchy.Mountpoint, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the cgroups %s: %w", hierarchy.Mountpoint, err)
		}
		if err := unix.Mount("cgroup", hierarchy.Mountpoint, hierarchy.FSType, 0, options); err != nil {
			return fmt.Errorf("mount the cgroups %s (%s): %w", hierarchy.Mountpoint, options, err)
		}
		if hierarchy.FSType == "cgroup2" {
			if err := delegate(hierarchy.Mountpoint); err != nil {
				return err
			}
		}
	}
	return nil
}

// controllers are those options of a hierarchy that say which one it is.
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

// delegate lets the cgroups below a root of version 2 have the controllers. For
// that, no process may be in the root itself.
func delegate(root string) error {
	parts := filepath.Join(root, "parts")
	if err := os.Mkdir(parts, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all cgroups are
		return fmt.Errorf("make a cgroup: %w", err)
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

// removeCgroups removes those of the cluster, when their last process is gone.
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
			return fmt.Errorf("remove the cgroup %s: %w", own, errors.Join(err, last))
		}
	}
	return nil
}

// removeTree removes a cgroup with those in it. The files of one go with it.
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
