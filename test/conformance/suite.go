package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// packages are the packages whose tests run with each version of Kubernetes.
var packages = []string{"./controlplane/...", "./manifest/...", "./webhookprocess/...", "./e2e/..."}

// leftOut matches the tests that do not run: they need MinIO, which takes long to build.
// Other tests verify the API server's tokens.
const leftOut = "MinIO"

// areas are the areas that must be tested for a supported version, with the names of
// their tests. If tests are renamed so that an area has none, the run fails.
var areas = map[string]*regexp.Regexp{
	"golden pods":  regexp.MustCompile(`^TestGolden`),
	"guard":        regexp.MustCompile(`Guard`),
	"registration": regexp.MustCompile(`Kustomize|Manifest|Platform`),
	"chart":        regexp.MustCompile(`Chart`),
	"certificates": regexp.MustCompile(`Certificate|CABundle`),
	"races":        regexp.MustCompile(`RightAfter`),
}

// testResults are the outcomes of the tests that ran, such as "pass", by package and name.
type testResults map[string]string

func (r testResults) passed() int {
	passed := 0
	for _, outcome := range r {
		if outcome == "pass" {
			passed++
		}
	}
	return passed
}

// check returns an error if a test was skipped or if an area has no test.
func (r testResults) check() error {
	var errs []error
	tested := map[string]bool{}
	for test, outcome := range r {
		if outcome != "pass" {
			errs = append(errs, fmt.Errorf("%s: %s", test, outcome))
		}
		_, name, _ := strings.Cut(test, " ")
		for area, names := range areas {
			if names.MatchString(name) {
				tested[area] = true
			}
		}
	}
	for area, names := range areas {
		if !tested[area] {
			errs = append(errs, fmt.Errorf("no test of the area %q ran: no name matches %s", area, names))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// choosesTests reports whether flags of go test exclude tests.
func choosesTests(flags []string) bool {
	return slices.ContainsFunc(flags, func(flag string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
		return name == "run" || name == "skip" || name == "short" || name == "failfast"
	})
}

// runTests runs the tests with additional flags of go test. It prints a line per test, and
// the output of failed tests.
func runTests(ctx context.Context, out io.Writer, flags []string) (testResults, error) {
	args := slices.Concat([]string{"test", "-json", "-count=1", "-p=1", "-skip=" + leftOut}, flags, packages)
	command := exec.CommandContext(ctx, "go", args...) //nolint:gosec // flags of the Makefile
	command.Dir = repopath.Path("test")
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	results, readErr := readResults(stdout, out)
	return results, errors.Join(readErr, command.Wait())
}

// readResults reads the events of `go test -json`.
func readResults(events io.Reader, out io.Writer) (testResults, error) {
	results, printed := testResults{}, map[string]*strings.Builder{}
	scanner := bufio.NewScanner(events)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var event struct {
			Action, Package, Test, Output string
			Elapsed                       float64
		}
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil {
			fmt.Fprintln(out, scanner.Text()) // an error message of go test itself
			continue
		}
		if event.Test == "" {
			fmt.Fprint(out, event.Output)
			continue
		}
		name := event.Package + " " + event.Test
		switch event.Action {
		case "output":
			if printed[name] == nil {
				printed[name] = new(strings.Builder)
			}
			_, _ = printed[name].WriteString(event.Output)
		case "pass", "fail", "skip":
			isSubtest := strings.Contains(event.Test, "/")
			if event.Action != "pass" && printed[name] != nil {
				_, _ = fmt.Fprint(out, printed[name])
			} else if !isSubtest {
				fmt.Fprintf(out, "%s %s (%.1fs)\n", event.Action, event.Test, event.Elapsed)
			}
			delete(printed, name)
			if !isSubtest || event.Action == "skip" {
				results[name] = event.Action
			}
		}
	}
	// Print the output of tests that did not end, for example because of a panic.
	for _, output := range printed {
		fmt.Fprint(out, output)
	}
	return results, scanner.Err()
}
