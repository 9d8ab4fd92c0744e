package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// inFlight is the number of concurrent requests.
	inFlight = 8
	// warmUp is the time before the measurement, in which connections open and heaps grow.
	warmUp = time.Second
	// checkInterval is the interval of readiness checks.
	checkInterval = 50 * time.Millisecond
	// readingFloor is the name of the floor for servers that read a ServiceAccount per
	// admission.
	readingFloor = "constant response with a read"
	// appRole is the role of the recorded pods' ServiceAccounts.
	appRole = "arn:aws:iam::111122223333:role/app"
	// unlimited removes the webhook's rate limit of requests to the API server. The benchmark
	// measures the cost of a read, not the wait for the rate limiter.
	unlimited = "1000000"
)

// benchTarget is a server to measure.
type benchTarget struct {
	name string
	// patched is true if it must inject each pod.
	patched bool
	// live is true if it reads ServiceAccounts from the API server.
	live bool
	// busy reports whether the API server works while it is measured.
	busy bool
	// optional targets are not compared with the recorded results.
	optional bool
	// early is true if it may report that it is ready too early.
	early bool
	start func(ctx context.Context, dir string) (*server, error)
}

// reviews returns the reviews that a worker sends. For targets with live reads, each
// worker has its own ServiceAccount, because reads of the same one are shared.
func (c benchTarget) reviews(recorded []review, worker int) []review {
	if !c.live {
		return recorded
	}
	others := slices.Clone(recorded)
	for n := range others {
		others[n] = others[n].of(accountWithRole(worker))
	}
	return others
}

// accountWithRole returns the name of the ServiceAccount of one worker's pods.
func accountWithRole(worker int) string { return "role-" + strconv.Itoa(worker) }

func accountWithoutRole(worker int) string { return "no-role-" + strconv.Itoa(worker) }

// newCandidates returns the floor and the servers to compare with it.
func newCandidates(config *rest.Config, kubeconfig string, environment []string, reference string) []benchTarget {
	candidates := []benchTarget{
		{
			name: "constant response", patched: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startConstantServer(ctx, dir, environment)
			},
		},
		{
			name: readingFloor, patched: true, busy: true, optional: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				read, err := readArgs(config, dir)
				if err != nil {
					return nil, err
				}
				return startConstantServer(ctx, dir, environment, read...)
			},
		},
		{
			name: cachedWebhook, patched: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startWebhook(ctx, kubeconfig, dir, environment, "--service-account-lookup=cached")
			},
		},
		{
			name: "webhook, live", patched: true, live: true, busy: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startWebhook(ctx, kubeconfig, dir, environment, "--service-account-lookup=live", "--kube-api-qps="+unlimited, "--kube-api-burst="+unlimited)
			},
		},
	}
	if reference != "" {
		candidates = append(candidates, benchTarget{
			name: "reference webhook", patched: true, optional: true, early: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startReference(ctx, reference, kubeconfig, dir)
			},
		})
	}
	return candidates
}

// createAccounts creates the ServiceAccounts of the recorded pods and of the workers, with
// a role.
func createAccounts(ctx context.Context, cluster *controlplane.ControlPlane, reviews []review) error {
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return err
	}
	for _, r := range reviews {
		if err := controlplane.CreateNamespace(ctx, client, r.namespace); err != nil {
			return err
		}
		if err := createAccount(ctx, client, r.namespace, r.serviceAccount, map[string]string{"eks.amazonaws.com/role-arn": appRole}); err != nil {
			return err
		}
		for worker := range inFlight {
			if err := createAccount(ctx, client, r.namespace, accountWithRole(worker), map[string]string{"eks.amazonaws.com/role-arn": appRole}); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure starts the server, sends requests for the duration, and stops it.
func (c benchTarget) measure(ctx context.Context, recorded []review, duration time.Duration) (measured round, err error) {
	dir, err := os.MkdirTemp("", "pod-identity-webhook-bench-")
	if err != nil {
		return round{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := c.start(ctx, dir)
	if err != nil {
		return round{}, err
	}
	defer server.stop()
	defer server.client.CloseIdleConnections()

	var workers []worker
	for n := range inFlight {
		reviews := c.reviews(recorded, n)
		sizes, err := c.checkOnceReady(ctx, server, reviews)
		if err != nil {
			return round{}, err
		}
		workers = append(workers, worker{reviews, sizes})
	}
	if _, err := server.drive(ctx, workers, warmUp); err != nil {
		return round{}, err
	}
	return c.measureAfterWarmup(ctx, server, workers, duration)
}

// checkOnceReady checks the server's responses. The reference reports that it is ready
// before its cache is filled, and skips pods until then.
func (c benchTarget) checkOnceReady(ctx context.Context, server *server, reviews []review) (sizes []int, err error) {
	if !c.early {
		return server.check(ctx, reviews, c.patched)
	}
	waitErr := wait.PollUntilContextTimeout(ctx, checkInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		sizes, err = server.check(ctx, reviews, c.patched)
		return err == nil, nil
	})
	if waitErr != nil {
		return nil, errors.Join(waitErr, err)
	}
	return sizes, nil
}

func (c benchTarget) measureAfterWarmup(ctx context.Context, server *server, workers []worker, duration time.Duration) (round, error) {
	readsBefore, err := server.liveReads(ctx)
	if err != nil {
		return round{}, err
	}
	watch, err := startWatch(server.pid)
	if err != nil {
		return round{}, err
	}
	load, err := server.drive(ctx, workers, duration)
	if err != nil {
		return round{}, err
	}
	if err := load.checkKept(len(workers)); err != nil {
		return round{}, err
	}
	cpu, others, err := watch.since()
	if err != nil {
		return round{}, err
	}
	used, err := usageOf(server.pid)
	if err != nil {
		return round{}, err
	}
	readsAfter, err := server.liveReads(ctx)
	if err != nil {
		return round{}, err
	}
	reads := readsAfter - readsBefore
	if !c.live && reads != 0 {
		return round{}, fmt.Errorf("got %d live reads for %d admissions, want none", reads, len(load.latencies))
	}
	measured := round{load: load, cpu: cpu, peak: used.peak, reads: float64(reads) / float64(len(load.latencies))}
	if !c.busy { // otherwise the API server would count as another process
		measured.others = others.Seconds() / load.took.Seconds() / float64(runtime.NumCPU())
	}
	return measured, nil
}
