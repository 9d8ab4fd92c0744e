package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The test kills the first process of a second cluster, next to the cluster of the
// other tests.
func TestCluster_cleansUpAfterCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	before, err := leakedResources(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := func(verb string) {
		t.Helper()
		if err := clusterCommand(t.Context(), dir, "-images="+t.TempDir(), verb); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = clusterCommand(context.Background(), dir, "down") }()
	run("up")
	first := firstProcess(t, dir)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all processes of the cluster exit", func(context.Context) error {
		after, err := leakedResources(dir)
		for what := range after {
			if strings.HasPrefix(what, "process ") && !before[what] {
				err = fmt.Errorf("%s still exists", what)
			}
		}
		return err
	})
	run("up")
	if firstProcess(t, dir) == first {
		t.Error("up reused the crashed cluster")
	}
	run("down")
	if err := expectNoLeaks(context.Background(), clusterHost{}, dir, before); err != nil {
		t.Error(err)
	}
	run("down") // without a cluster
}

func TestCluster_startFailure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	before, err := leakedResources(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = clusterCommand(t.Context(), dir, "-assets="+t.TempDir(), "up")
	if err == nil {
		t.Fatal("got no error without the Kubernetes binaries")
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || !strings.Contains(string(log), "make assets") {
		t.Errorf("got log %q and error %v, want a log with make assets", log, err)
	}
	if err := clusterCommand(t.Context(), dir, "down"); err != nil {
		t.Fatal(err)
	}
	if err := expectNoLeaks(context.Background(), clusterHost{}, dir, before); err != nil {
		t.Error(err)
	}
}

// firstProcess returns the ID of the cluster's first process.
func firstProcess(t *testing.T, dir string) int {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		command, err := os.ReadFile(process)
		if err == nil && strings.Contains(string(command), "-dir="+dir+"\x00") && strings.HasSuffix(string(command), "\x00init\x00") {
			var pid int
			if _, err := fmt.Sscanf(process, "/proc/%d/cmdline", &pid); err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no cluster runs in %s", dir)
	return 0
}
