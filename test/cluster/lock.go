package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file that the first process of a cluster locks. The kernel stores
// the lock's owner and releases the lock when the process exits, in any way.
// So a stopped cluster is never mistaken for a running one, or another process
// for the cluster's first process.
const lockName = "lock"

// acquireLock locks the file until this process exits. It returns an error if
// another process holds the lock.
func (c *cluster) acquireLock() error {
	path := filepath.Join(c.dir, lockName)
	// The kernel releases the lock when the file is closed. An os.File would be closed
	// when it is garbage collected.
	file, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.FcntlFlock(uintptr(file), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}); err != nil {
		return fmt.Errorf("lock %s: %w; another cluster runs in this directory", path, err)
	}
	return nil
}

// lockOwner returns the ID of the process that holds the lock, or 0 if none does.
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
		return 0, fmt.Errorf("get lock owner of %s: %w", file.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
