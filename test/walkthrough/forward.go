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

// forwardTimeout is the longest wait until kubectl listens.
const forwardTimeout = 30 * time.Second

// forwarding matches the line that kubectl prints when it listens.
var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> `)

// Forward forwards a port of a Service and calls do with the local address. It
// stops forwarding before it returns. It returns the error of do, or an error if
// kubectl does not forward within forwardTimeout.
func (c *Cluster) Forward(ctx context.Context, namespace, service, port string, do func(ctx context.Context, address string) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	args := []string{
		"--kubeconfig", c.Kubeconfig, "--namespace", namespace,
		"port-forward", "--address", "127.0.0.1", "service/" + service, ":" + port,
	}
	command := exec.CommandContext(ctx, c.Kubectl, args...) //nolint:gosec // the caller chooses the commands, the user their paths
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("%s: %w", line(c.Kubectl, args), err)
	}
	timer := time.AfterFunc(forwardTimeout, stop)
	defer timer.Stop()
	address, found := firstMatch(stdout, forwarding)
	if !found {
		err := cmp.Or(command.Wait(), errors.New("kubectl exited and did not forward"))
		return fmt.Errorf("%s: %w: %s", line(c.Kubectl, args), err, strings.TrimSpace(stderr.String()))
	}
	timer.Stop()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, stdout) // kubectl prints a line for each connection
	}()
	err = do(ctx, address)
	stop()
	<-read
	_ = command.Wait() // an error is expected, because stop killed it
	return err
}

// firstMatch reads lines until one matches, and returns its first group.
func firstMatch(from io.Reader, pattern *regexp.Regexp) (string, bool) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if match := pattern.FindStringSubmatch(lines.Text()); match != nil {
			return match[1], true
		}
	}
	return "", false
}
