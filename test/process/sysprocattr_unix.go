//go:build unix && !linux

package process

import "syscall"

// Only Linux can kill a child when its parent dies.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
