package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// makeRoot creates the node's file system and makes it the root of this process. It
// looks like the machine's file system, but writes to it do not reach the machine:
// containerd, for example, creates missing hostPath directories. There are three
// differences:
//   - /run is empty, so that the machine's own containerd is not the node's.
//   - /proc shows the cluster's processes.
//   - Directories that grow are in the cluster's directory.
func (c *cluster) makeRoot() error {
	// Mounts from here on are not visible to the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	base := filepath.Join(c.dir, "root")
	if err := mount("tmpfs", base, "tmpfs", ""); err != nil {
		return err
	}
	// With relative paths, no path in the options below has a comma or a colon.
	if err := os.Chdir(base); err != nil {
		return err
	}
	root := filepath.Join(base, "merged")
	if err := overlay("/", root, "upper"); err != nil {
		return err
	}
	if err := overlay("/dev", filepath.Join(root, "dev"), "dev"); err != nil {
		return err
	}
	if err := c.bindMounts(root, mounts); err != nil {
		return err
	}
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "proc", "proc"},
		{"tmpfs", "run", "tmpfs"},
	} {
		if err := mount(m.source, filepath.Join(root, m.target), m.kind, ""); err != nil {
			return err
		}
	}
	for source, target := range map[string]string{
		c.dir:                                c.dir,
		filepath.Join(c.dir, "containerd"):   "/var/lib/containerd",
		filepath.Join(c.dir, "kubelet"):      "/var/lib/kubelet",
		filepath.Join(c.dir, "logs", "pods"): "/var/log/pods",
	} {
		if err := os.MkdirAll(source, 0o700); err != nil {
			return err
		}
		if err := bind(source, filepath.Join(root, target), 0); err != nil {
			return err
		}
	}
	return enter(root)
}

// bindMounts binds the machine's mounts into root.
func (c *cluster) bindMounts(root string, mounts []*mountinfo.Info) error {
	// A recursive bind includes the mounts below, so shorter paths come first.
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return len(a.Mountpoint) - len(b.Mountpoint) })
	skipped := []string{"/proc", "/run", c.dir}
	for _, m := range mounts {
		if m.Mountpoint == "/" || m.Mountpoint == "/dev" || slices.ContainsFunc(skipped, func(done string) bool {
			return m.Mountpoint == done || strings.HasPrefix(m.Mountpoint, done+"/")
		}) {
			continue
		}
		skipped = append(skipped, m.Mountpoint)
		if err := bind(m.Mountpoint, filepath.Join(root, m.Mountpoint), unix.MS_REC); err != nil {
			return err
		}
	}
	return nil
}

// overlay mounts an overlay of lower at target. Writes go to the directory upper in
// the working directory.
func overlay(lower, target, upper string) error {
	work := upper + "-work"
	for _, directory := range []string{upper, work} {
		if err := os.MkdirAll(directory, 0o755); err != nil { //nolint:gosec // it is the root of a file system that all programs use
			return err
		}
	}
	return mount("overlay", target, "overlay", "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
}

func bind(source, target string, flags uintptr) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

func mount(source, target, kind, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	if err := unix.Mount(source, target, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s (%s) at %s: %w", kind, options, target, err)
	}
	return nil
}

// enter makes root the root directory of this process and its child processes.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// This mounts the old root on top of the new one, and unmounts it, see pivot_root(2).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	return os.Chdir("/")
}
