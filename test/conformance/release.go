package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// release is a release of Kubernetes. For example, v1.30.14 is release{30, 14}.
type release struct{ minor, patch int }

func parseRelease(text string) (release, error) {
	var r release
	_, err := fmt.Sscanf(text, "v1.%d.%d", &r.minor, &r.patch)
	if err != nil || r.String() != text {
		return release{}, fmt.Errorf("%q is not a release of Kubernetes, such as v1.30.14", text)
	}
	return r, nil
}

func (r release) String() string { return fmt.Sprintf("v1.%d.%d", r.minor, r.patch) }

// minorVersion returns the minor version, such as 1.30.
func (r release) minorVersion() string { return "1." + strconv.Itoa(r.minor) }

// staging returns the version of the modules that are published with the release.
func (r release) staging() string { return fmt.Sprintf("v0.%d.%d", r.minor, r.patch) }

// releases are the releases that have a module, ordered from oldest to newest.
type releases []release

func (rs releases) of(minor string) (release, bool) {
	for _, r := range rs {
		if r.minorVersion() == minor {
			return r, true
		}
	}
	return release{}, false
}

func (rs releases) String() string {
	var minors []string
	for _, r := range rs {
		minors = append(minors, r.minorVersion())
	}
	return strings.Join(minors, ", ")
}

// module is the output of `go mod edit -json` for a go.mod.
type module struct {
	Go      string
	GoDebug []struct{ Key, Value string }
	Tool    []struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

// requires returns the version of a module that m requires.
func (m module) requires(path string) string {
	for _, required := range m.Require {
		if required.Path == path {
			return required.Version
		}
	}
	return ""
}

func readModule(path string) (module, error) {
	// #nosec G204 -- the path is one of this repository or of the module cache
	output, err := exec.CommandContext(context.Background(), "go", "mod", "edit", "-json", path).Output()
	if err != nil {
		return module{}, commandError("read "+path, err)
	}
	var m module
	if err := json.Unmarshal(output, &m); err != nil {
		return module{}, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// commandError returns the error of a command, with its standard error.
func commandError(what string, err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%s: %w: %s", what, err, exit.Stderr)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// readReleases returns the releases that the modules below a directory build. The module
// in the directory itself builds the newest.
func readReleases(dir string) (releases, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "1.*", "go.mod"))
	if err != nil {
		return nil, err
	}
	var found releases
	for _, path := range append(paths, filepath.Join(dir, "go.mod")) {
		m, err := readModule(path)
		if err != nil {
			return nil, err
		}
		r, err := parseRelease(m.requires(kubernetesModule))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b release) int { return a.minor - b.minor })
	return found, nil
}

// checkVersion returns an error unless the API server in dir has the wanted version.
func checkVersion(ctx context.Context, dir string, want release) error {
	path := filepath.Join(dir, "kube-apiserver")
	output, err := exec.CommandContext(ctx, path, "--version").Output() //nolint:gosec // it is what is to be tested
	if err != nil {
		return commandError("get version of kube-apiserver", err)
	}
	if got := strings.TrimSpace(string(output)); got != "Kubernetes "+want.String() {
		return fmt.Errorf("%s: got version %q, want %s", path, got, want)
	}
	return nil
}
