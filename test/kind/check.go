package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// kindVersion is the version of kind with which the tests read deploy/kind.
const kindVersion = "v0.33.0"

// dockerTimeout is the longest wait for a response of the Docker daemon.
const dockerTimeout = 10 * time.Second

// check returns one error that lists all missing programs, with the URLs of
// their installation guides.
func check(ctx context.Context) error {
	return errors.Join(checkDocker(ctx), checkKind())
}

func checkDocker(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("docker is missing, which kind needs: see https://docs.docker.com/engine/install/\n" +
			"\twithout Docker, run `make demo`: it shows the injection on a real API server without nodes")
	}
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	if _, err := walkthrough.Output(ctx, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("the Docker daemon does not respond; start it (Docker Desktop, or `systemctl start docker`), and check with `docker ps` that you have permission to use it\n\t%w", err)
	}
	return nil
}

func checkKind() error {
	if _, err := exec.LookPath("kind"); err != nil {
		return errors.New("kind is missing; run `go install sigs.k8s.io/kind@" + kindVersion + "` and add $(go env GOPATH)/bin to the PATH\n" +
			"\tfor other ways, see https://kind.sigs.k8s.io/docs/user/quick-start/#installation")
	}
	return nil
}
