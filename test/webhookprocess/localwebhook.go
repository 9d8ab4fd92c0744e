// Package webhookprocess runs the built webhook as a process on loopback, and configures a
// control plane to call it by URL.
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
	// startTimeout is the limit for the start of the webhook, which takes a fraction of a
	// second if the API server responds.
	startTimeout = time.Minute
	// requestTimeout is the limit for a request of Client, including readiness checks.
	requestTimeout = 5 * time.Second
)

// DefaultBinary returns the path of the webhook that make builds.
func DefaultBinary() string { return repopath.Path("bin", "pod-identity-webhook") }

// Options are the options of Start.
type Options struct {
	// Binary is the webhook's file; empty means DefaultBinary.
	Binary string
	// Cluster is the control plane. The webhook runs as the chart's ServiceAccount (see
	// ChartConfig).
	Cluster *controlplane.ControlPlane
	// Kubeconfig replaces the kubeconfig for Cluster, for a webhook that reaches its API
	// server through a proxy. Create it with ChartConfig.
	Kubeconfig string
	// Dir is an existing directory for the certificate and the log. The caller removes it
	// after the webhook has exited.
	Dir string
	// Args are additional flags.
	Args []string
	// Env is the complete environment, as NAME=value; nil means the parent's.
	Env []string
	// Port is the port of the webhook's server; 0 means any free port.
	Port int
}

// Webhook is a started webhook. Its methods must not be called concurrently, except
// ReplaceCertificate and methods that only return information.
type Webhook struct {
	options           Options
	port, metricsPort int
	certificates      *authority
	process           *process.Process
}

// Start starts a webhook and waits until it is ready. The context is only for the start. If
// it returns an error, the webhook does not run.
func Start(ctx context.Context, options Options) (*Webhook, error) {
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil {
		return nil, fmt.Errorf("find webhook: %w; run `make build`", err)
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
	// Chosen ports stay free for the webhook when it restarts, see package freeport.
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

// WaitReady waits until the webhook reports that it is ready.
func (w *Webhook) WaitReady(ctx context.Context) error {
	client := w.Client()
	defer client.CloseIdleConnections()
	return w.process.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, w.URL()+"/readyz")
	})
}

// Stop stops the webhook gracefully and returns its exit code. If the context ends before, it
// kills the webhook and returns an error. It also returns an error if the webhook had
// already exited.
func (w *Webhook) Stop(ctx context.Context) (exitCode int, err error) {
	err = w.process.Stop(ctx)
	return w.process.ExitCode(), err
}

// PID returns the webhook's process ID.
func (w *Webhook) PID() int { return w.process.PID() }

// Signal sends a signal to the webhook and does not wait.
func (w *Webhook) Signal(signal os.Signal) error { return w.process.Signal(signal) }

// Kill kills the webhook like a crash, and waits until it is gone.
func (w *Webhook) Kill() { w.process.Kill() }

// Ended returns a channel that is closed when the last started webhook has exited.
func (w *Webhook) Ended() <-chan struct{} { return w.process.Ended() }

// ExitCode waits until the webhook exits and returns its exit code, which is -1 if a signal
// killed it.
func (w *Webhook) ExitCode() int { return w.process.ExitCode() }

// Restart starts the webhook again with the same ports, files and flags, and waits until it is
// ready. It first stops a running webhook, and returns an error if the exit code of that is
// not 0.
func (w *Webhook) Restart(ctx context.Context) error {
	select {
	case <-w.process.Ended():
	default:
		code, err := w.Stop(ctx)
		if err == nil && code != 0 {
			err = errors.New("exit code " + strconv.Itoa(code))
		}
		if err != nil {
			return fmt.Errorf("stop webhook before its restart: %w", err)
		}
	}
	return w.start(ctx)
}

// URL returns the address of the webhook's server, without a path.
func (w *Webhook) URL() string { return "https://" + freeport.Address(w.port) }

// MetricsURL returns the address of the webhook's metrics.
func (w *Webhook) MetricsURL() string {
	return "http://" + freeport.Address(w.metricsPort) + "/metrics"
}

// LogFile returns the path of the webhook's log, which includes earlier starts.
func (w *Webhook) LogFile() string { return filepath.Join(w.options.Dir, "pod-identity-webhook.log") }

// Logs returns the webhook's complete log.
func (w *Webhook) Logs() (string, error) {
	log, err := os.ReadFile(w.LogFile())
	if err != nil {
		return "", fmt.Errorf("read webhook's log: %w", err)
	}
	return string(log), nil
}
