//go:build unix && !linux

package process

import "syscall"

// Only Linux ends a child with its parent.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
