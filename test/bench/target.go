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
	// inFlight is how many requests there are at once.
	inFlight = 8
	// warmUp is not measured: connections are made, heaps grow.
	warmUp = time.Second
	// checkInterval is how often a server is asked that is not ready yet.
	checkInterval = 50 * time.Millisecond
	// readingFloor is the name of the floor of servers that read a ServiceAccount for
	// each admission.
	readingFloor = "constant answer, a read each"
	// appRole is that of the recorded pods' ServiceAccounts.
	appRole = "arn:aws:iam::111122223333:role/app"
	// unlimited lifts the webhook's limit of requests to the API server: what a read
	// costs is measured, not how long it has to wait for its turn.
	unlimited = "1000000"
)

// benchTarget is a server that is measured.
type benchTarget struct {
	name string
	// patched says that it is to give each pod an identity.
	patched bool
	// live says that it reads ServiceAccounts from the API server.
	live bool
	// busy reports whether the API server works while it is measured.
	busy bool
	// optional ones are not compared with what is recorded.
	optional bool
	// early says that it may say that it is ready before it is.
	early bool
	start func(ctx context.Context, dir string) (*server, error)
}

// reviews are what each of the workers asks for. Those of a candidate that is to
// read each time have a ServiceAccount for each, as reads of the same are shared.
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

// accountWithRole is a ServiceAccount that one worker's pods have alone.
func accountWithRole(worker int) string { return "role-" + strconv.Itoa(worker) }

func accountWithoutRole(worker int) string { return "no-role-" + strconv.Itoa(worker) }

// newCandidates returns the floor and what is measured beside it.
func newCandidates(config *rest.Config, kubeconfig string, environment []string, reference string) []benchTarget {
	candidates := []benchTarget{
		{
			name: "constant answer", patched: true,
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

// createAccounts creates the ServiceAccounts of the pods, and those of the workers,
// with a role.
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

// measure starts the server, asks it for the duration, and stops it.
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

// checkOnceReady checks the server's answers. The reference says that it is ready
// before it knows the ServiceAccounts, and leaves pods alone until then.
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
		return round{}, fmt.Errorf("%d live reads for %d admissions, want none", reads, len(load.latencies))
	}
	measured := round{load: load, cpu: cpu, peak: used.peak, reads: float64(reads) / float64(len(load.latencies))}
	if !c.busy { // else the API server is among the others
		measured.others = others.Seconds() / load.took.Seconds() / float64(runtime.NumCPU())
	}
	return measured, nil
}
