package sdks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// sdk is an SDK and the program that uses it.
type sdk struct {
	name    string
	command []string
	// image has the variables that the program needs anywhere. None of them is for AWS.
	image []string
	// needsAWSNames is true if the SDK does not support AWS_ENDPOINT_URL_STS.
	needsAWSNames bool
	// noTokenFile is true if the SDK does not support AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE.
	noTokenFile bool
	// untyped is true if errors have only a code.
	untyped bool
	// ifThere is true if the test is skipped on machines without the SDK.
	ifThere bool
}

// sdks returns the SDKs of make test-sdks.
func sdks() []sdk {
	installed := func(elements ...string) string {
		return repopath.Path(append([]string{"bin", "sdks"}, elements...)...)
	}
	source := func(elements ...string) string {
		return repopath.Path(append([]string{"test", "sdks"}, elements...)...)
	}
	debian := []string{"PYTHONPATH=" + installed("debian", "usr", "lib", "python3", "dist-packages")}
	path := "PATH=/usr/bin:/bin"
	python := pythonOfThisMachine()
	return []sdk{
		{name: "Go v2", command: []string{installed("golang")}},
		// Its errors have codes but no types, and it does not support AWS_ENDPOINT_URL_STS.
		{name: "Go v1", command: []string{installed("golangv1")}, needsAWSNames: true, untyped: true},
		{name: "JavaScript v3", command: []string{onPath("node"), installed("javascript", "main.mjs")}},
		// Both are older than some variables, see docs/reference/sdk-compatibility.md.
		{
			name: "Debian's boto3", command: []string{"/usr/bin/python3", source("python", "main.py")},
			image: debian, needsAWSNames: true, noTokenFile: true,
		},
		{
			name: "Debian's AWS CLI v2", command: []string{source("cli", "main"), installed("debian", "usr", "bin", "aws")},
			image: append(debian, path), needsAWSNames: true, noTokenFile: true, untyped: true,
		},
		// Newer than the ones of Debian.
		{name: "this machine's boto3", command: []string{python, source("python", "main.py")}, ifThere: true},
		{
			name: "this machine's AWS CLI", command: []string{source("cli", "main"), filepath.Join(filepath.Dir(python), "aws")},
			image: []string{path}, untyped: true, ifThere: true,
		},
	}
}

// onPath returns the file of a program, or its name if it is not in the PATH.
func onPath(program string) string {
	found, err := exec.LookPath(program)
	if err != nil {
		return program
	}
	return found
}

// pythonOfThisMachine returns the file of the Python in the PATH, which may be a wrapper.
func pythonOfThisMachine() string {
	executable, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "python3"
	}
	return strings.TrimSpace(string(executable))
}

// answer is the output of every program.
type answer struct {
	Version, ARN, Content string
	Error                 struct{ Type, Code, Message string }
}

// run runs the program in a container with additional variables.
func (s sdk) run(t *testing.T, c *containerenv.Container, env []string, args ...string) answer {
	t.Helper()
	a, err := s.try(t, c, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s sdk) try(t *testing.T, c *containerenv.Container, env []string, args ...string) (answer, error) {
	t.Helper()
	printed, err := c.Run(t.Context(), slices.Concat(s.image, env), s.command[0], append(s.command[1:], args...)...)
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(printed, &a); err != nil {
		return answer{}, fmt.Errorf("%s printed %s: %w", s.name, printed, err)
	}
	return a, nil
}

// network returns variables with which calls of AWS's STS reach a server on this machine, for
// an SDK for which the pod has no endpoint. At the end of the test, it checks that the SDK
// called the regional endpoint in the pod's variables.
func (s sdk) network(t *testing.T, server string) []string {
	t.Helper()
	if !s.needsAWSNames {
		return nil
	}
	aws := newNetwork(t, server)
	t.Cleanup(func() {
		if got, want := aws.asked(), []string{"sts." + region + ".amazonaws.com:443"}; !slices.Equal(got, want) {
			t.Errorf("got calls of %s, want %s", got, want)
		}
	})
	return aws.env
}

// installed returns the SDKs on this machine and logs them. In CI, all SDKs that the project
// can install are required.
func installed(t *testing.T) []sdk {
	t.Helper()
	var found []sdk
	for _, s := range sdks() {
		a, err := s.try(t, &containerenv.Container{}, nil, "version")
		switch {
		case err == nil && a.Version != "":
			found = append(found, s)
			t.Logf("tested: %s, version %s", s.name, a.Version)
		case os.Getenv("CI") != "" && !s.ifThere:
			t.Errorf("%s is not installed, see the output of test/sdks/install: %v", s.name, err)
		default:
			t.Logf("NOT TESTED: %s, not on this machine", s.name)
		}
	}
	return found
}
