package controlplane

import (
	"context"
	"fmt"
	"os"
)

// RunTests is for the TestMain of a package whose tests share a control plane. It starts a
// control plane in a temporary directory, calls run with it, and stops it. flags returns
// more flags of the API server, which can name files in the directory; it can be nil.
// RunTests returns the exit code of run, or prints an error and returns 1.
func RunTests(flags func(dir string) ([]string, error), run func(*ControlPlane) (int, error)) int {
	code, err := runTests(flags, run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func runTests(flags func(dir string) ([]string, error), run func(*ControlPlane) (int, error)) (int, error) {
	dir, err := os.MkdirTemp("", "pod-identity-webhook-test-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	options := Options{Dir: dir, Log: os.Stderr}
	if flags != nil {
		if options.APIServerFlags, err = flags(dir); err != nil {
			return 0, err
		}
	}
	cluster, err := Start(context.Background(), options)
	if err != nil {
		return 0, err
	}
	defer cluster.Stop()
	return run(cluster)
}
