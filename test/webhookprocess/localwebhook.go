// Package webhookprocess runs the built webhook as a process on loopback, beside
// a control plane that calls it by URL, and registers it there.
package webhookprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const (
	// startTimeout bounds the time until the webhook is ready, which takes a
	// fraction of a second when the API server answers.
	startTimeout = time.Minute
	// requestTimeout bounds a request of Client, and so one question whether
	// the webhook is ready.
	requestTimeout = 5 * time.Second
)

// DefaultBinary is where this repository builds the webhook.
func DefaultBinary() string { return repopath.Path("bin", "pod-identity-webhook") }

// Options say how to start a webhook.
type Options struct {
	// Binary is the webhook's file; empty means DefaultBinary.
	Binary string
	// Cluster is the control plane that the webhook serves. The webhook runs as the
	// chart's ServiceAccount (see ChartConfig).
	Cluster *controlplane.ControlPlane
	// Kubeconfig is a file that replaces the one made for Cluster, for a webhook
	// that reaches its API server through a proxy; write it with ChartConfig.
	Kubeconfig string
	// Dir is an existing directory for the certificate and the log. It is the
	// caller's to remove, after the webhook has ended.
	Dir string
	// Args are further flags.
	Args []string
	// Env is the whole environment, as NAME=value; nil means the parent's.
	Env []string
	// Port is that of the webhook's server; 0 means any that is free.
	Port int
}

// Webhook is a webhook that was started. Its methods may not be called
// concurrently, except ReplaceCertificate and those that only tell something.
type Webhook struct {
	options           Options
	port, metricsPort int
	certificates      *authority
	process           *process.Process
}

// Start starts a webhook and returns when it is ready. The context bounds the
// start alone. On failure it is not left running.
func Start(ctx context.Context, options Options) (*Webhook, error) {
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil {
		return nil, fmt.Errorf("find the webhook: %w; build it with `make build`", err)
	}
	if options.Kubeconfig == "" {
		config, err := ChartConfig(ctx, options.Cluster, options.Args...)
		if err != nil {
			return nil, err
		}
		options.Kubeconfig = filepath.Join(options.Dir, "kubeconfig")
		if err := controlplane.WriteKubeconfig(options.Kubeconfig, config); err != nil {
			return nil, err
		}
	}
	w := &Webhook{options: options, port: options.Port}
	var err error
	if w.certificates, err = newAuthority(options.Dir); err != nil {
		return nil, err
	}
	if _, err := w.ReplaceCertificate(); err != nil {
		return nil, err
	}
	// Ports that were chosen beforehand stay the webhook's own when it is
	// restarted; see the package loopback.
	for _, port := range []*int{&w.port, &w.metricsPort} {
		if *port != 0 {
			continue
		}
		if *port, err = freeport.FreePort(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Webhook) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started, err := process.Start(process.Command{
		Path: w.options.Binary,
		Args: append([]string{
			"--bind-address=127.0.0.1",
			"--port=" + strconv.Itoa(w.port),
			"--metrics-port=" + strconv.Itoa(w.metricsPort),
			"--kubeconfig=" + w.options.Kubeconfig,
			"--tls-cert=" + w.certificates.certFile,
			"--tls-key=" + w.certificates.keyFile,
		}, w.options.Args...),
		Env: w.options.Env,
		Log: w.LogFile(),
	})
	if err != nil {
		return err
	}
	w.process = started
	if err := w.WaitReady(ctx); err != nil {
		w.Kill()
		return err
	}
	return nil
}

// WaitReady waits until the webhook says that it is ready.
func (w *Webhook) WaitReady(ctx context.Context) error {
	client := w.Client()
	defer client.CloseIdleConnections()
	return w.process.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, w.URL()+"/readyz")
	})
}

// Stop asks the webhook to end, waits for it and returns its exit code. When
// the context ends first the webhook is killed, and the error says so. That it
// has ended by itself before is an error too.
func (w *Webhook) Stop(ctx context.Context) (exitCode int, err error) {
	err = w.process.Stop(ctx)
	return w.process.ExitCode(), err
}

// PID is the webhook's process id.
func (w *Webhook) PID() int { return w.process.PID() }

// Signal sends the webhook a signal and does not wait.
func (w *Webhook) Signal(signal os.Signal) error { return w.process.Signal(signal) }

// Kill ends the webhook at once, as a crash would, and waits until it is gone.
func (w *Webhook) Kill() { w.process.Kill() }

// Ended is closed when the webhook, as last started, has ended.
func (w *Webhook) Ended() <-chan struct{} { return w.process.Ended() }

// ExitCode waits for the webhook to end and returns its exit code, which is -1
// if a signal ended it.
func (w *Webhook) ExitCode() int { return w.process.ExitCode() }

// Restart starts the webhook again with the same ports, files and flags, and
// returns when it is ready. If it still runs it is stopped first; that it then
// exits with another code than 0 is an error.
func (w *Webhook) Restart(ctx context.Context) error {
	select {
	case <-w.process.Ended():
	default:
		code, err := w.Stop(ctx)
		if err == nil && code != 0 {
			err = errors.New("exit code " + strconv.Itoa(code))
		}
		if err != nil {
			return fmt.Errorf("stop the webhook before its restart: %w", err)
		}
	}
	return w.start(ctx)
}

// URL is the address of the webhook's server, with no path.
func (w *Webhook) URL() string { return "https://" + freeport.Address(w.port) }

// MetricsURL is the address of the webhook's metrics.
func (w *Webhook) MetricsURL() string {
	return "http://" + freeport.Address(w.metricsPort) + "/metrics"
}

// LogFile is the path of the webhook's log, which goes on across restarts.
func (w *Webhook) LogFile() string { return filepath.Join(w.options.Dir, "pod-identity-webhook.log") }

// Logs returns all that the webhook has logged.
func (w *Webhook) Logs() (string, error) {
	log, err := os.ReadFile(w.LogFile())
	if err != nil {
		return "", fmt.Errorf("read the webhook's log: %w", err)
	}
	return string(log), nil
}
