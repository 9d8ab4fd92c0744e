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

// What up starts: the first process of the namespaces, and the one that runs the
// parts of the cluster.
const (
	verbInit = "init"
	verbNode = "node"
	// ready is what the latter says at last, after lines about its progress.
	ready = "ready"
	// upTimeout bounds what takes a quarter of a minute on a free machine.
	upTimeout = 3 * time.Minute
)

// The files that these processes inherit, after the standard ones.
const (
	// goFile is read for a byte, which says that the network is there.
	goFile = 3
	// statusFile is written to.
	statusFile = 4
)

// cluster is a cluster of one directory.
type cluster struct {
	// dir is an absolute path. Two clusters have two directories.
	dir string
	// assets, plugins, programs and images are directories of what was built.
	assets, plugins, programs, images string
	// address is the node's, once it is chosen.
	address string
	out     io.Writer
}

// id tells what this cluster has on the machine from what others have.
func (c *cluster) id() string {
	sum := sha256.Sum256([]byte(c.dir))
	return hex.EncodeToString(sum[:4])
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// up starts the cluster, unless it runs, and loads the images.
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
		fmt.Fprintln(c.out, "it runs already")
	}
	if err := c.loadBuilt(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nexport KUBECONFIG=%s\n", c.kubeconfig())
	return nil
}

func (c *cluster) start(ctx context.Context) error {
	// What is left of one that crashed.
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
		// Its logs stay, to be looked at, and go with the next up or down.
		return errors.Join(err, c.end(context.WithoutCancel(ctx), process.pid))
	}
	return nil
}

// started is the first process, and the pipes to it.
type started struct {
	pid    int
	goes   *os.File
	status *os.File
}

// startInit starts the first process in namespaces of its own: it is the first of
// a namespace of processes, so that all that ever is started in it ends with it.
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
		return nil, fmt.Errorf("start a process in namespaces of its own: %w; in a container, this takes a privileged one", err)
	}
	// Once this program has ended, nobody waits for it but the system.
	go func() { _ = command.Wait() }()
	return &started{pid: command.Process.Pid, goes: goWrite, status: statusRead}, nil
}

// args are those of this program as another part of the cluster.
func (c *cluster) args(verb string) []string {
	return []string{
		"-dir=" + c.dir, "-assets=" + c.assets, "-network=" + c.plugins, "-programs=" + c.programs,
		"-address=" + c.address, verb,
	}
}

// bringUp gives the first process its network, has it go on, and waits until all
// is ready.
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
		return fmt.Errorf("wait for the cluster: %w; %s has the logs", err, c.dir)
	}
	said, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	return fmt.Errorf("the cluster ended before it was ready; %s has the logs:\n%s", c.dir, said)
}
