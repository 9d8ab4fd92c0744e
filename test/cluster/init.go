package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runInit is the first process of the cluster's namespaces. It makes the node's
// file system, starts the program that runs the parts, and buries whoever loses
// their parent, as shims of containers do. It ends with that program, and all else
// ends with it.
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
		return fmt.Errorf("name the node: %w", err)
	}
	if err := c.joinCgroups(); err != nil {
		return err
	}
	if err := c.makeRoot(); err != nil {
		return fmt.Errorf("make the node's file system: %w", err)
	}
	node := exec.Command("/proc/self/exe", c.args(verbNode)...) //nolint:gosec,noctx // this program; no context ends it
	node.Stdout, node.Stderr = os.Stdout, os.Stderr
	status := os.NewFile(statusFile, "status")
	node.ExtraFiles = []*os.File{nil, status}
	// What it is in from now on is the root of all cgroups that it sees.
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
			return fmt.Errorf("wait for the processes of the cluster: %w", err)
		case pid == node.Process.Pid:
			return fmt.Errorf("the node ended: exit status %d, signal %d", how.ExitStatus(), how.Signal())
		}
	}
}
