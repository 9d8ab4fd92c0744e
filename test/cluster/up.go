package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The commands that up starts: the first process of the namespaces, and the one
// that runs the components.
const (
	verbInit = "init"
	verbNode = "node"
	// ready is the last line that runNode writes, after lines about its progress.
	ready = "ready"
	// upTimeout is the limit for up, which takes about 15 seconds on an idle machine.
	upTimeout = 3 * time.Minute
)

// The file descriptors that these processes inherit, in addition to the standard ones.
const (
	// goFile is a pipe. A byte in it means that the network is set up.
	goFile = 3
	// statusFile is a pipe for the lines about the progress.
	statusFile = 4
)

// cluster is the cluster with its files in dir.
type cluster struct {
	// dir is an absolute path. Each cluster has its own directory.
	dir string
	// assets, plugins, programs and images are directories with built files.
	assets, plugins, programs, images string
	// address is the node's IP address, after it is chosen.
	address string
	out     io.Writer
}

// id returns a suffix for the names of this cluster's resources on the machine.
func (c *cluster) id() string {
	sum := sha256.Sum256([]byte(c.dir))
	return hex.EncodeToString(sum[:4])
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// up starts the cluster, if it does not run, and loads the images.
func (c *cluster) up(ctx context.Context) error {
	if err := check(); err != nil {
		return err
	}
	holder, err := c.lockOwner()
	if err != nil {
		return err
	}
	if holder == 0 {
		if err := c.start(ctx); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(c.out, "the cluster is already running")
	}
	if err := c.loadBuilt(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nexport KUBECONFIG=%s\n", c.kubeconfig())
	return nil
}

func (c *cluster) start(ctx context.Context) error {
	// Remove the resources of a crashed cluster.
	if err := c.clean(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	network, err := chooseNetwork()
	if err != nil {
		return err
	}
	c.address = network.node.IP.String()

	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	process, err := c.startInit()
	if err != nil {
		return err
	}
	if err := c.bringUp(ctx, process, network); err != nil {
		// Keep the logs. The next up or down removes them.
		return errors.Join(err, c.end(context.WithoutCancel(ctx), process.pid))
	}
	return nil
}

// started is the cluster's first process and the pipes to it.
type started struct {
	pid    int
	goes   *os.File
	status *os.File
}

// startInit starts the first process in its own namespaces. As the first process of
// a PID namespace, it takes all its descendants with it when it exits.
func (c *cluster) startInit() (*started, error) {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = goRead.Close() }()
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = statusWrite.Close() }()

	command := exec.Command("/proc/self/exe", c.args(verbInit)...) //nolint:gosec,noctx // this program; it outlives the one that starts it
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{goRead, statusWrite}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start process in new namespaces: %w; a container must be privileged for this", err)
	}
	// Reap the process if it exits before this program does.
	go func() { _ = command.Wait() }()
	return &started{pid: command.Process.Pid, goes: goWrite, status: statusRead}, nil
}

// args returns the arguments for another process of this program.
func (c *cluster) args(verb string) []string {
	return []string{
		"-dir=" + c.dir, "-assets=" + c.assets, "-network=" + c.plugins, "-programs=" + c.programs,
		"-address=" + c.address, verb,
	}
}

// bringUp sets up the network of the first process, lets it continue, and waits for
// the ready line. It returns an error if the process exits or ctx ends before.
func (c *cluster) bringUp(ctx context.Context, process *started, network network) error {
	defer func() { _ = process.status.Close() }()
	err := network.connect(c.link(), process.pid)
	if err == nil {
		_, err = process.goes.Write([]byte{0})
	}
	if closing := process.goes.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = process.status.SetReadDeadline(time.Now()) })
	defer stop()
	lines := bufio.NewScanner(process.status)
	for lines.Scan() {
		if lines.Text() == ready {
			return nil
		}
		fmt.Fprintln(c.out, lines.Text())
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("wait until the cluster is ready: %w; see the logs in %s", err, c.dir)
	}
	log, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	return fmt.Errorf("the cluster exited before it was ready; see the logs in %s:\n%s", c.dir, log)
}
