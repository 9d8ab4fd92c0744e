package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// kindVersion is the kind that reads deploy/kind in the tests.
const kindVersion = "v0.33.0"

// answerTimeout bounds the wait for an answer of the Docker daemon.
const answerTimeout = 10 * time.Second

// check says all at once what is missing on this machine, and where to get it.
func check(ctx context.Context) error {
	return errors.Join(checkDocker(ctx), checkKind())
}

func checkDocker(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("docker is missing, and kind runs its nodes in it: https://docs.docker.com/engine/install/\n" +
			"\twithout Docker, `make demo` shows the same on a real API server that has no nodes")
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if _, err := walkthrough.Output(ctx, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("docker is there, but its daemon does not answer; start it (Docker Desktop, or `systemctl start docker`), and see that you may use it (`docker ps`)\n\t%w", err)
	}
	return nil
}

func checkKind() error {
	if _, err := exec.LookPath("kind"); err != nil {
		return errors.New("kind is missing: `go install sigs.k8s.io/kind@" + kindVersion + "` puts it into $(go env GOPATH)/bin, which must be in the PATH\n" +
			"\tother ways: https://kind.sigs.k8s.io/docs/user/quick-start/#installation")
	}
	return nil
}
