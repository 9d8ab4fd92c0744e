// Command conformance tests the webhook with the API servers of all supported versions of
// Kubernetes. It runs the end-to-end tests with one of them and records the result in
// docs/compatibility.md. It also writes the modules from which make builds the API servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const usage = `usage:
  conformance test MINOR [FLAG...]   test with the API server in KUBEBUILDER_ASSETS, which must have that minor version, such as 1.30; flags are passed to go test
  conformance module RELEASE [COMMAND...]
                                     write the module that builds the API server of a
                                     release, such as 1.30.14, and other commands of it`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New(usage)
	}
	modules, page := repopath.Path("test", "assets"), repopath.Path("docs", "compatibility.md")
	switch args[0] {
	case "test":
		return testMinor(ctx, modules, page, args[1], args[2:])
	case "module":
		if err := writeModule(ctx, modules, args[1], args[2:]...); err != nil {
			return err
		}
		supported, err := readReleases(modules)
		if err != nil {
			return err
		}
		return record(page, supported)
	default:
		return errors.New(usage)
	}
}

// testMinor runs the tests with the API server of a minor version and records the result.
// A run with flags that select tests is not recorded.
func testMinor(ctx context.Context, modules, page, minor string, flags []string) error {
	supported, err := readReleases(modules)
	if err != nil {
		return err
	}
	release, ok := supported.of(minor)
	if !ok {
		return fmt.Errorf("test/assets has no module for Kubernetes %s, only for %s", minor, supported)
	}
	if err := checkVersion(ctx, os.Getenv("KUBEBUILDER_ASSETS"), release); err != nil {
		return err
	}
	results, err := runTests(ctx, os.Stdout, flags)
	if err != nil {
		return fmt.Errorf("test against Kubernetes %s: %w", release, err)
	}
	if choosesTests(flags) {
		_, _ = fmt.Fprintf(os.Stdout, "The selected tests passed with Kubernetes %s. Only a run of all tests is recorded.\n", release)
		return nil
	}
	if err := results.check(); err != nil {
		return fmt.Errorf("test against Kubernetes %s: %w", release, err)
	}
	_, _ = fmt.Fprintf(os.Stdout, "All %d tests passed with Kubernetes %s.\n", results.passed(), release)
	return record(page, supported, release)
}
