package walkthrough

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// forwardTimeout bounds the wait for kubectl to listen.
const forwardTimeout = 30 * time.Second

// forwarding is what kubectl prints once it listens.
var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> `)

// Forward does something while this machine can reach a Service, at address.
func (c *Cluster) Forward(ctx context.Context, namespace, service, port string, do func(ctx context.Context, address string) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	args := []string{
		"--kubeconfig", c.Kubeconfig, "--namespace", namespace,
		"port-forward", "--address", "127.0.0.1", "service/" + service, ":" + port,
	}
	command := exec.CommandContext(ctx, c.Kubectl, args...) //nolint:gosec // as for the other commands
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("%s: %w", line(c.Kubectl, args), err)
	}
	patience := time.AfterFunc(forwardTimeout, stop)
	defer patience.Stop()
	address, found := firstMatch(stdout, forwarding)
	if !found {
		err := cmp.Or(command.Wait(), errors.New("it ends and forwards nothing"))
		return fmt.Errorf("%s: %w: %s", line(c.Kubectl, args), err, strings.TrimSpace(stderr.String()))
	}
	patience.Stop()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, stdout) // it tells of each connection
	}()
	err = do(ctx, address)
	stop()
	<-read
	_ = command.Wait() // that it was stopped is no error
	return err
}

// firstMatch reads lines up to the first that matches, and returns its group.
func firstMatch(from io.Reader, pattern *regexp.Regexp) (string, bool) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if match := pattern.FindStringSubmatch(lines.Text()); match != nil {
			return match[1], true
		}
	}
	return "", false
}
