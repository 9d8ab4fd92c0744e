package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
)

// usage is what the operating system says of a process. It is known on Linux.
type usage struct {
	cpu      time.Duration // user and system, since the start
	resident uint64        // bytes
	peak     uint64        // most memory that was ever resident, bytes
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
	return usage{cpu: time.Duration(stat.CPUTime() * float64(time.Second)), resident: status.VmRSS, peak: status.VmHWM}, nil
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

// usageSnapshot is how much CPU time was ever taken: by some processes, by this program, and
// by all of the machine.
type usageSnapshot struct {
	at        time.Time
	of        map[int]time.Duration
	self, all time.Duration
}

func takeSnapshot(pids ...int) (usageSnapshot, error) {
	taken := usageSnapshot{at: time.Now(), of: map[int]time.Duration{}}
	for _, pid := range pids {
		used, err := usageOf(pid)
		if err != nil {
			return usageSnapshot{}, err
		}
		taken.of[pid] = used.cpu
	}
	self, err := usageOf(os.Getpid())
	if err != nil {
		return usageSnapshot{}, err
	}
	taken.self = self.cpu
	taken.all, err = busy()
	return taken, err
}

// since returns what each process has taken since the earlier stock, and the share
// of the machine that neither they nor this program had. A process that the earlier
// stock does not have began after it.
func (s usageSnapshot) since(earlier usageSnapshot) (of map[int]time.Duration, others float64) {
	of = map[int]time.Duration{}
	rest := s.all - earlier.all - (s.self - earlier.self)
	for pid, cpu := range s.of {
		of[pid] = cpu - earlier.of[pid]
		rest -= of[pid]
	}
	return of, max(0, rest.Seconds()) / s.at.Sub(earlier.at).Seconds() / float64(runtime.NumCPU())
}
