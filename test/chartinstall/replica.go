package chartinstall

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

const (
	// readyTimeout is the limit for the start of a replica, which takes a fraction of a
	// second if the API server responds.
	readyTimeout = time.Minute
	probeTimeout = 2 * time.Second
)

// Replica is a process of the webhook.
type Replica struct {
	binary, log       string
	port, metricsPort int
	args              []string
	// health is the path of the readiness probe.
	health  string
	process *process.Process
}

// newReplica returns a replica with its own ports and no arguments.
func newReplica(ctx context.Context, binary, log string) (*Replica, error) {
	r := &Replica{binary: binary, log: log, health: "/readyz"}
	for _, port := range []*int{&r.port, &r.metricsPort} {
		var err error
		if *port, err = freeport.FreePort(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Start starts the replica and does not wait until it is ready. The replica must not be
// running.
func (r *Replica) Start() (err error) {
	r.process, err = process.Start(process.Command{Path: r.binary, Args: r.args, Log: r.log})
	return err
}

// WaitReady waits until the replica is ready.
func (r *Replica) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := probeClient()
	defer client.CloseIdleConnections()
	return r.process.WaitReady(ctx, func(ctx context.Context) error { return r.probe(ctx, client) })
}

// probe sends a readiness probe as the kubelet does, which does not verify certificates.
func (r *Replica) probe(ctx context.Context, client *http.Client) error {
	return process.ExpectOK(ctx, client, r.URL()+r.health)
}

func probeClient() *http.Client {
	return &http.Client{
		Timeout:   probeTimeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // as a kubelet
	}
}

// Stop stops the replica gracefully. It returns an error if the exit code is not 0.
func (r *Replica) Stop(ctx context.Context) error {
	if err := r.process.Stop(ctx); err != nil {
		return err
	}
	if code := r.process.ExitCode(); code != 0 {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

// Kill kills the replica like a crash, if it runs.
func (r *Replica) Kill() {
	if r.process != nil {
		r.process.Kill()
	}
}

// URL returns the address of the replica's server, without a path.
func (r *Replica) URL() string { return "https://" + freeport.Address(r.port) }

// MetricsURL returns the address of the replica's metrics.
func (r *Replica) MetricsURL() string {
	return "http://" + freeport.Address(r.metricsPort) + "/metrics"
}

// PID returns the ID of the process.
func (r *Replica) PID() int { return r.process.PID() }

// Logs returns the replica's complete log, including earlier starts.
func (r *Replica) Logs() (string, error) {
	log, err := os.ReadFile(r.log)
	if err != nil {
		return "", fmt.Errorf("read the log of a replica: %w", err)
	}
	return string(log), nil
}
