package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pidMaxFile contains the largest process ID. podman limits its own number of
// processes to that value.
const pidMaxFile = "/proc/sys/kernel/pid_max"

// rlimitNPROC is RLIMIT_NPROC, which package syscall does not define.
const rlimitNPROC = 6

// explain adds a fix to the errors of an engine that have a known cause.
func explain(err error, output string) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(output, "setting rlimit"):
		return fmt.Errorf("%w\n\tthe engine sets resource limits that are higher than this machine permits; add this to /etc/containers/containers.conf:\n\n%s", err, limits())
	case strings.Contains(output, "/lib/modules: no such file"):
		return fmt.Errorf("%w\n\tkind mounts this directory into its node; run `mkdir -p /lib/modules`", err)
	case strings.Contains(output, "netavark"):
		return fmt.Errorf("%w\n\tthe network of podman needs the programs netavark, aardvark-dns and iptables; on Debian, run `apt-get install netavark aardvark-dns iptables`", err)
	default:
		return err
	}
}

// limits returns a containers.conf for podman with the resource limits of this process.
func limits() string {
	files, processes := hardLimit(syscall.RLIMIT_NOFILE), hardLimit(rlimitNPROC)
	if content, err := os.ReadFile(pidMaxFile); err == nil {
		if most, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64); err == nil {
			processes = min(processes, most)
		}
	}
	return fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%[1]d:%[1]d\", \"nproc=%[2]d:%[2]d\"]\n", files, processes)
}

// hardLimit returns the hard limit of this process for a resource, or a small value if
// the limit is not known.
func hardLimit(resource int) uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(resource, &limit); err != nil {
		return 1024
	}
	return limit.Max
}
