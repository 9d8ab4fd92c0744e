package main

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// usage is what the operating system says of a process. It is known on Linux.
type usage struct {
	cpu  time.Duration // user and system, since the start
	peak uint64        // most memory that was ever resident, bytes
}

func usageOf(pid int) (usage, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return usage{}, fmt.Errorf("find process %d: %w", pid, err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return usage{}, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	status, err := proc.NewStatus()
	if err != nil {
		return usage{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return usage{cpu: time.Duration(stat.CPUTime() * float64(time.Second)), peak: status.VmHWM}, nil
}

// busy is how much CPU time all processes of the machine have taken since its start.
func busy() (time.Duration, error) {
	filesystem, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("this needs Linux: %w", err)
	}
	stat, err := filesystem.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of the machine: %w", err)
	}
	all := stat.CPUTotal
	return time.Duration((all.User + all.Nice + all.System + all.IRQ + all.SoftIRQ + all.Steal) * float64(time.Second)), nil
}

// watch says how much CPU time was taken since: by the server, and by neither it nor
// this program.
type watch struct {
	pid                int
	server, self, busy time.Duration
}

func startWatch(pid int) (watch, error) {
	server, err := usageOf(pid)
	if err != nil {
		return watch{}, err
	}
	self, err := usageOf(os.Getpid())
	if err != nil {
		return watch{}, err
	}
	all, err := busy()
	return watch{pid: pid, server: server.cpu, self: self.cpu, busy: all}, err
}

func (w watch) since() (server, others time.Duration, err error) {
	now, err := startWatch(w.pid)
	if err != nil {
		return 0, 0, err
	}
	server = now.server - w.server
	return server, now.busy - w.busy - server - (now.self - w.self), nil
}
