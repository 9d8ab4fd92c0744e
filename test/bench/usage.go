package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
)

// usage is the operating system's accounting of a process. It needs Linux.
type usage struct {
	cpu      time.Duration // user and system, since the start
	resident uint64        // bytes
	peak     uint64        // peak resident memory in bytes
}

func usageOf(pid int) (usage, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return usage{}, fmt.Errorf("read usage of process %d: %w", pid, err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return usage{}, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	status, err := proc.NewStatus()
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return usage{cpu: time.Duration(stat.CPUTime() * float64(time.Second)), resident: status.VmRSS, peak: status.VmHWM}, nil
}

// busy returns the CPU time of all processes of the machine since its start.
func busy() (time.Duration, error) {
	filesystem, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("bench needs Linux: %w", err)
	}
	stat, err := filesystem.Stat()
	if err != nil {
		return 0, fmt.Errorf("read CPU time of the machine: %w", err)
	}
	all := stat.CPUTotal
	return time.Duration((all.User + all.Nice + all.System + all.IRQ + all.SoftIRQ + all.Steal) * float64(time.Second)), nil
}

// watch measures CPU times: of the server, and of all processes other than the server and
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

// usageSnapshot has the total CPU times of some processes, of this program, and of the whole
// machine.
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

// since returns the CPU time of each process since the earlier snapshot, and the share of
// the machine that neither they nor this program used. A process that is not in the
// earlier snapshot started after it.
func (s usageSnapshot) since(earlier usageSnapshot) (of map[int]time.Duration, others float64) {
	of = map[int]time.Duration{}
	rest := s.all - earlier.all - (s.self - earlier.self)
	for pid, cpu := range s.of {
		of[pid] = cpu - earlier.of[pid]
		rest -= of[pid]
	}
	return of, max(0, rest.Seconds()) / s.at.Sub(earlier.at).Seconds() / float64(runtime.NumCPU())
}
