package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file whose lock the first process of a cluster holds for as
// long as it lives. The kernel knows who that is, and forgets it when the process
// ends, however it does: so no cluster is taken for one that runs, or the reverse,
// and no process for the cluster's that is not.
const lockName = "lock"

// acquireLock takes the lock until this process ends.
func (c *cluster) acquireLock() error {
	path := filepath.Join(c.dir, lockName)
	// The lock ends when the file is closed, as Go's would be once nobody uses it.
	file, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.FcntlFlock(uintptr(file), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}); err != nil {
		return fmt.Errorf("lock %s: %w; another cluster runs in this directory", path, err)
	}
	return nil
}

// lockOwner returns the process that holds the lock, or 0 if none does.
func (c *cluster) lockOwner() (int, error) {
	file, err := os.OpenFile(filepath.Join(c.dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("ask who locks %s: %w", file.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
