package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runInit is the first process of the cluster's namespaces. It sets up the node's
// file system and starts the process of runNode. It reaps orphaned processes, such
// as container shims. It returns when runNode exits, and the kernel then kills all
// other processes.
func (c *cluster) runInit() error {
	if err := c.acquireLock(); err != nil {
		return err
	}
	unix.CloseOnExec(goFile)
	unix.CloseOnExec(statusFile)
	if _, err := os.NewFile(goFile, "go").Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := c.joinCgroups(); err != nil {
		return err
	}
	if err := c.makeRoot(); err != nil {
		return fmt.Errorf("set up node file system: %w", err)
	}
	node := exec.Command("/proc/self/exe", c.args(verbNode)...) //nolint:gosec,noctx // this program; no context ends it
	node.Stdout, node.Stderr = os.Stdout, os.Stderr
	status := os.NewFile(statusFile, "status")
	node.ExtraFiles = []*os.File{nil, status}
	// In its own namespace, its current cgroup is the root of all cgroups.
	node.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP}
	if err := node.Start(); err != nil {
		return err
	}
	if err := status.Close(); err != nil {
		return err
	}
	for {
		var how syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &how, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for child processes: %w", err)
		case pid == node.Process.Pid:
			return fmt.Errorf("node process exited with status %d, signal %d", how.ExitStatus(), how.Signal())
		}
	}
}
