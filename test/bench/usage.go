package main

import (
	"fmt"
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
