// Package engine finds the container engine for kind, Docker or podman, and runs its
// commands.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// providerVariable is the environment variable that selects the engine of kind.
const providerVariable = "KIND_EXPERIMENTAL_PROVIDER"

// responseTimeout is the longest wait for the first response of an engine.
const responseTimeout = 10 * time.Second

// Engine is a container engine. The value is the name of its program.
type Engine string

// The engines.
const (
	Docker Engine = "docker"
	Podman Engine = "podman"
)

// Select returns the engine in KIND_EXPERIMENTAL_PROVIDER, or the first of docker and
// podman that responds. It sets the variable, so that kind uses the same engine: kind
// itself uses any docker program in the PATH, also without a daemon. The error lists the
// reason for each engine.
func Select(ctx context.Context) (Engine, error) {
	switch chosen := Engine(os.Getenv(providerVariable)); chosen {
	case Docker, Podman:
		return chosen, chosen.check(ctx)
	case "":
	default:
		return "", fmt.Errorf("%s is %q, want %s or %s", providerVariable, chosen, Docker, Podman)
	}
	var reasons []error
	for _, engine := range []Engine{Docker, Podman} {
		err := engine.check(ctx)
		if err == nil {
			return engine, os.Setenv(providerVariable, string(engine))
		}
		reasons = append(reasons, err)
	}
	return "", errors.Join(reasons...)
}

// check returns an error if the engine is not installed, does not respond, or cannot run
// a node.
func (e Engine) check(ctx context.Context) error {
	if _, err := exec.LookPath(string(e)); err != nil {
		return fmt.Errorf("%s is missing: see %s", e, e.guide())
	}
	ctx, cancel := context.WithTimeout(ctx, responseTimeout)
	defer cancel()
	response, err := e.Output(ctx, e.ping()...)
	if err != nil {
		return fmt.Errorf("%s does not respond; %s\n\t%w", e, e.startHint(), err)
	}
	if e == Podman && rootlessV1(response) {
		return errors.New("podman without root cannot run a node on a machine with cgroup v1; run make as root, or start the machine with cgroup v2")
	}
	return nil
}

// rootlessV1 reports whether the output of podman info is that of a podman without root on a
// machine with cgroup v1, which kind rejects.
func rootlessV1(info []byte) bool {
	var found struct {
		Host struct {
			CgroupVersion string `json:"cgroupVersion"`
			Security      struct {
				Rootless bool `json:"rootless"`
			} `json:"security"`
		} `json:"host"`
	}
	return json.Unmarshal(info, &found) == nil && found.Host.Security.Rootless && found.Host.CgroupVersion == "v1"
}

func (e Engine) guide() string {
	if e == Podman {
		return "https://podman.io/docs/installation"
	}
	return "https://docs.docker.com/engine/install/"
}

func (e Engine) startHint() string {
	if e == Podman {
		return "check with `podman info`, and run `podman machine start` if it runs in a virtual machine"
	}
	return "start its daemon (Docker Desktop, or `systemctl start docker`), and check with `docker ps` that you have permission to use it"
}

// ping returns a command that fails if the engine does not run containers.
func (e Engine) ping() []string {
	if e == Podman {
		return []string{"info", "--format", "json"}
	}
	// The client prints most other fields without a daemon.
	return []string{"version", "--format", "{{.Server.Version}}"}
}

// Run runs a command of the engine and streams its output to out.
func (e Engine) Run(ctx context.Context, out io.Writer, args ...string) error {
	var copied strings.Builder
	err := walkthrough.Run(ctx, io.MultiWriter(out, &copied), string(e), args...)
	return explain(err, copied.String())
}

// Output runs a command of the engine and returns its standard output.
func (e Engine) Output(ctx context.Context, args ...string) ([]byte, error) {
	output, err := walkthrough.Output(ctx, string(e), args...)
	if err != nil {
		return nil, explain(err, err.Error())
	}
	return output, nil
}

// HasImage reports whether the engine has an image.
func (e Engine) HasImage(ctx context.Context, image string) bool {
	_, err := e.Output(ctx, "image", "inspect", image)
	return err == nil
}

// StartNode starts a container of a node image with the options of kind and a network, and
// stops it at once. It returns an error if this machine does not permit that.
func (e Engine) StartNode(ctx context.Context, image string) error {
	_, err := e.Output(ctx, "run", "--rm", "--privileged", "--cgroupns=private",
		"--tmpfs=/tmp", "--tmpfs=/run", "--volume=/lib/modules:/lib/modules:ro", "--entrypoint=true", image)
	return err
}
