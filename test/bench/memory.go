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
	// readyInterval is how exactly it is known when the webhook is ready.
	readyInterval = 5 * time.Millisecond
	// settleTime is for what a start leaves to be done when the webhook is ready
	// already, such as giving memory back.
	settleTime = 5 * time.Second
)

// memoryUsage is what the webhook takes in a cluster of so many ServiceAccounts.
type memoryUsage struct {
	accounts  int
	starts    []start
	idleUsage idleUsage
}

// start is one start of the webhook.
type start struct {
	ready    time.Duration // since the start of the process
	cpu      time.Duration // until then
	peak     uint64        // bytes
	received int64         // bytes from the API server
	others   float64       // share of the machine
}

// idleUsage is the time after a start in which nothing happens.
type idleUsage struct {
	cpu      time.Duration
	took     time.Duration
	resident uint64 // at its end, bytes
	others   float64
}

// measureFootprints fills a cluster of its own, and starts the webhook at each size.
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
		fmt.Fprintf(progress, "%d ServiceAccounts, in %s\n", size, time.Since(began).Round(time.Second))
		of := memoryUsage{accounts: size}
		// The first start is for the API server to be warm, and is not counted.
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
			fmt.Fprintf(progress, "start %d of %d: ready after %s, %s at peak\n", n, o.starts, started.ready.Round(time.Millisecond), megabytes(float64(started.peak)))
		}
		footprints = append(footprints, of)
	}
	return footprints, nil
}

// measureStart starts the webhook behind a relay that counts what it receives.
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

// watchStart runs the command until it is ready, lets it idle, and kills it.
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
	// A start itself can be too short for what the machine counts in ticks.
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

// webhookCommand returns how the webhook is started, and the URL of its server.
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

// waitReady waits until ready returns nil. Unlike the process's own WaitReady it asks
// so often that the start is known to some milliseconds.
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
