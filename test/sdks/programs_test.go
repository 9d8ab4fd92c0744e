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
	// image has the variables that the program needs wherever it runs, and that
	// are none of AWS's.
	image []string
	// needsAWSNames is set where the SDK does not know AWS_ENDPOINT_URL_STS.
	needsAWSNames bool
	// noTokenFile is set where the SDK does not know AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE.
	noTokenFile bool
	// untyped is set where errors have a code alone.
	untyped bool
	// ifThere is set where it is tried on machines that happen to have it.
	ifThere bool
}

// sdks are those that make test-sdks tries.
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
		// Its errors have codes and no types, and it never came to know
		// AWS_ENDPOINT_URL_STS.
		{name: "Go v1", command: []string{installed("golangv1")}, needsAWSNames: true, untyped: true},
		{name: "JavaScript v3", command: []string{onPath("node"), installed("javascript", "main.mjs")}},
		// Both are from before the newer variables, see docs/reference/sdk-compatibility.md.
		{
			name: "Debian's boto3", command: []string{"/usr/bin/python3", source("python", "main.py")},
			image: debian, needsAWSNames: true, noTokenFile: true,
		},
		{
			name: "Debian's AWS CLI v2", command: []string{source("cli", "main"), installed("debian", "usr", "bin", "aws")},
			image: append(debian, path), needsAWSNames: true, noTokenFile: true, untyped: true,
		},
		// Newer than Debian's.
		{name: "this machine's boto3", command: []string{python, source("python", "main.py")}, ifThere: true},
		{
			name: "this machine's AWS CLI", command: []string{source("cli", "main"), filepath.Join(filepath.Dir(python), "aws")},
			image: []string{path}, untyped: true, ifThere: true,
		},
	}
}

// onPath returns the file of a program, or its name where there is none.
func onPath(program string) string {
	found, err := exec.LookPath(program)
	if err != nil {
		return program
	}
	return found
}

// pythonOfThisMachine returns the file of the Python that is found first, which
// what is on the PATH may only lead to.
func pythonOfThisMachine() string {
	executable, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "python3"
	}
	return strings.TrimSpace(string(executable))
}

// answer is what every program prints.
type answer struct {
	Version, ARN, Content string
	Error                 struct{ Type, Code, Message string }
}

// run runs the program in a container, with further variables.
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

// network returns the variables by which calls of AWS's STS reach a server of this
// machine, for an SDK that is not told so by the pod. At the end of the test, it
// must have called the regional endpoint, as the pod's variables have it.
func (s sdk) network(t *testing.T, server string) []string {
	t.Helper()
	if !s.needsAWSNames {
		return nil
	}
	aws := newNetwork(t, server)
	t.Cleanup(func() {
		if got, want := aws.asked(), []string{"sts." + region + ".amazonaws.com:443"}; !slices.Equal(got, want) {
			t.Errorf("it called %s, want %s", got, want)
		}
	})
	return aws.env
}

// installed returns the SDKs that this machine has, and says which those are. On
// CI all must be there that the project can install.
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
			t.Errorf("%s is not installed; test/sdks/install says why: %v", s.name, err)
		default:
			t.Logf("NOT TESTED: %s, which is not on this machine", s.name)
		}
	}
	return found
}
