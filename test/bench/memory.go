package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	// readyInterval is the resolution of the time until the webhook is ready.
	readyInterval = 5 * time.Millisecond
	// settleTime is the time for work that continues after the webhook is ready, such as
	// returning memory.
	settleTime = 5 * time.Second
)

// memoryUsage is the usage of the webhook in a cluster with accounts ServiceAccounts.
type memoryUsage struct {
	accounts  int
	starts    []start
	idleUsage idleUsage
}

// start is the measurement of one start of the webhook.
type start struct {
	ready    time.Duration // since the start of the process
	cpu      time.Duration // until then
	peak     uint64        // bytes
	received int64         // bytes from the API server, including TLS
	others   float64       // share of the machine
}

// idleUsage is the measurement of an idle time after a start.
type idleUsage struct {
	cpu      time.Duration
	took     time.Duration
	resident uint64 // at its end, bytes
	others   float64
}

// measureFootprints fills its own cluster and starts the webhook at each size.
func measureFootprints(ctx context.Context, o scaleOptions, environment []string, progress io.Writer) (footprints []memoryUsage, err error) {
	cluster, _, remove, err := startControlPlane(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	client, err := protobufClient(cluster)
	if err != nil {
		return nil, err
	}
	seeded := 0
	for _, size := range o.sizes {
		began := time.Now()
		if err := seed(ctx, client, seeded, size); err != nil {
			return nil, err
		}
		seeded = size
		fmt.Fprintf(progress, "created %d ServiceAccounts in %s\n", size, time.Since(began).Round(time.Second))
		of := memoryUsage{accounts: size}
		// The first start warms up the API server and is not counted.
		for n := range o.starts + 1 {
			idle := time.Duration(0)
			if n == o.starts {
				idle = o.idle
			}
			started, idled, err := measureStart(ctx, cluster, environment, idle)
			if err != nil {
				return nil, fmt.Errorf("start the webhook with %d ServiceAccounts: %w", size, err)
			}
			if n > 0 {
				of.starts = append(of.starts, started)
			}
			of.idleUsage = idled
			fmt.Fprintf(progress, "start %d of %d: ready after %s, peak memory %s\n", n, o.starts, started.ready.Round(time.Millisecond), megabytes(float64(started.peak)))
		}
		footprints = append(footprints, of)
	}
	return footprints, nil
}

// measureStart starts the webhook behind a proxy that counts the received bytes.
func measureStart(ctx context.Context, cluster *controlplane.ControlPlane, environment []string, idle time.Duration) (started start, idled idleUsage, err error) {
	dir, err := os.MkdirTemp("", "pod-identity-webhook-bench-")
	if err != nil {
		return start{}, idleUsage{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config, err := webhookprocess.ChartConfig(ctx, cluster)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	between, err := startCountingProxy(ctx, target.Host)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	defer func() {
		received, closeErr := between.close()
		started.received = received
		err = errors.Join(err, closeErr)
	}()
	kubeconfig, err := kubeconfigFor(dir, between.address(), config.CAData, config)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	certificate, err := newCertificate(dir)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	command, url, err := webhookCommand(ctx, dir, kubeconfig, certificate, environment)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	client := newCaller(url, certificate.trusted()).client
	defer client.CloseIdleConnections()
	return watchStart(ctx, cluster, command, idle, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, url+"/readyz")
	})
}

// watchStart runs the command until it is ready, leaves it idle, and kills it.
func watchStart(ctx context.Context, cluster *controlplane.ControlPlane, command process.Command, idle time.Duration, isReady func(context.Context) error) (start, idleUsage, error) {
	before, err := takeSnapshot(cluster.APIServerPID(), cluster.EtcdPID())
	if err != nil {
		return start{}, idleUsage{}, err
	}
	webhook, err := process.Start(command)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	defer webhook.Kill()
	if err := waitReady(ctx, webhook, isReady); err != nil {
		return start{}, idleUsage{}, err
	}
	pids := []int{webhook.PID(), cluster.APIServerPID(), cluster.EtcdPID()}
	ready, err := takeSnapshot(pids...)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	settled, err := stockAfter(ctx, settleTime, pids)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	after, err := stockAfter(ctx, idle, pids)
	if err != nil {
		return start{}, idleUsage{}, err
	}
	memory, err := usageOf(webhook.PID())
	if err != nil {
		return start{}, idleUsage{}, err
	}
	ofStart, _ := ready.since(before)
	// A start can be shorter than the resolution of the kernel's CPU times.
	_, othersAtStart := settled.since(before)
	ofIdling, othersIdle := after.since(settled)
	return start{ready: ready.at.Sub(before.at), cpu: ofStart[webhook.PID()], peak: memory.peak, others: othersAtStart},
		idleUsage{cpu: ofIdling[webhook.PID()], took: idle, resident: memory.resident, others: othersIdle}, nil
}

func stockAfter(ctx context.Context, duration time.Duration, pids []int) (usageSnapshot, error) {
	if err := pause(ctx, duration); err != nil {
		return usageSnapshot{}, err
	}
	return takeSnapshot(pids...)
}

// webhookCommand returns the command of the webhook and the URL of its server.
func webhookCommand(ctx context.Context, dir, kubeconfig string, certificate certificate, environment []string) (process.Command, string, error) {
	port, err := freeport.FreePort(ctx)
	if err != nil {
		return process.Command{}, "", err
	}
	metricsPort, err := freeport.FreePort(ctx)
	if err != nil {
		return process.Command{}, "", err
	}
	return process.Command{
		Path: webhookprocess.DefaultBinary(),
		Args: []string{
			"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--metrics-port=" + strconv.Itoa(metricsPort),
			"--kubeconfig=" + kubeconfig, "--tls-cert=" + certificate.file, "--tls-key=" + certificate.key,
		},
		Env: environment,
		Log: filepath.Join(dir, "log"),
	}, "https://" + freeport.Address(port), nil
}

// waitReady waits until ready returns nil. It polls more often than the process's
// WaitReady, so that the result has a resolution of a few milliseconds.
func waitReady(ctx context.Context, started *process.Process, ready func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, readyInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-started.Ended():
			return false, started.UnexpectedEnd()
		default:
		}
		last = ready(ctx)
		return last == nil, nil
	})
	if wait.Interrupted(err) {
		return errors.Join(err, last)
	}
	return err
}
