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

// makeRoot makes the node's file system and goes into it: it looks like the
// machine's, but nothing that is written to it stays, such as the directories that
// containerd makes where a pod wants a path of the node that is not there. Three
// things are other than on the machine: /run is empty, so that the machine's own
// containerd, if it has one, is not the node's; /proc shows the cluster's processes;
// and what grows is in the cluster's directory.
func (c *cluster) makeRoot() error {
	// Nothing that is mounted from here on is seen by the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the machine's mounts: %w", err)
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	base := filepath.Join(c.dir, "root")
	if err := mount("tmpfs", base, "tmpfs", ""); err != nil {
		return err
	}
	// So that no name in the options below can hold a comma or a colon.
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

// bindMounts makes what is mounted on the machine be mounted there, too.
func (c *cluster) bindMounts(root string, mounts []*mountinfo.Info) error {
	// Those come first that are mounted on none of the others, and bring them.
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

// overlay mounts what is at lower, so that what is written goes to a directory of
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

// enter makes root the root of this process and of all that it starts.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root is put on top of the new one, and taken away, see pivot_root(2).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}
