package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// inFlight is how many requests there are at once.
	inFlight = 8
	// warmUp is not measured: connections are made, heaps grow.
	warmUp = time.Second
	// appRole is that of the recorded pods' ServiceAccounts.
	appRole = "arn:aws:iam::111122223333:role/app"
	// unlimited lifts the webhook's limit of requests to the API server: what a read
	// costs is measured, not how long it has to wait for its turn.
	unlimited = "1000000"
)

// options are what run is told.
type options struct {
	rounds    int
	duration  time.Duration
	reference string
	plots     string
	json      bool
	record    bool
	compare   bool
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each server is measured, by turns")
	flags.DurationVar(&o.duration, "for", 3*time.Second, "how long each time")
	flags.StringVar(&o.reference, "reference", "", "amazon-eks-pod-identity-webhook's binary, a `file`, to measure that too")
	flags.StringVar(&o.plots, "plots", "", "`folder` to draw the latencies in")
	flags.BoolVar(&o.json, "json", false, "print JSON, with every round, in place of the table")
	flags.BoolVar(&o.record, "record", false, "write the ratios to test/bench/recorded.json")
	flags.BoolVar(&o.compare, "compare", false, "fail if a ratio is more than 20 % worse than it says there")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("%q is no flag", flags.Args())
	case o.rounds < 1 || o.duration <= 0:
		return options{}, errors.New("-rounds and -for must be above 0")
	case o.record && o.compare:
		return options{}, errors.New("what was just recorded need not be compared: give one of -record and -compare")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	var before baseline
	if o.compare { // known before minutes have passed
		if before, err = readBaseline(recordedFile()); err != nil {
			return err
		}
	}
	machine, err := thisMachine()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pod-identity-webhook-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	candidates, rounds, err := measureAll(ctx, o, dir, progress)
	if err != nil {
		return err
	}

	measured := newReport(machine, candidates, rounds)
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(measured)
	} else {
		measured.writeTable(out)
	}
	if err != nil {
		return err
	}
	if o.plots != "" {
		if err := plotLatencies(o.plots, machine, candidates, rounds); err != nil {
			return err
		}
	}
	if o.record {
		return newBaseline(measured).write(recordedFile())
	}
	if o.compare {
		return compare(progress, before, newBaseline(measured))
	}
	return nil
}

// measureAll measures the candidates by turns, beside a control plane in dir. It
// returns the rounds by the name of the candidate.
func measureAll(ctx context.Context, o options, dir string, progress io.Writer) ([]candidate, map[string][]round, error) {
	recorded, err := loadReviews()
	if err != nil {
		return nil, nil, err
	}
	environment, err := deployedEnvironment()
	if err != nil {
		return nil, nil, err
	}
	cluster, err := controlplane.Start(ctx, controlplane.Options{Dir: dir, Log: progress})
	if err != nil {
		return nil, nil, err
	}
	defer cluster.Stop()
	if err := createAccounts(ctx, cluster, recorded); err != nil {
		return nil, nil, err
	}
	candidates := newCandidates(cluster.Kubeconfig(), environment, o.reference)
	rounds := map[string][]round{}
	for n := range o.rounds {
		for i := range candidates {
			// Each time another is the first.
			c := candidates[(n+i)%len(candidates)]
			measured, err := c.measure(ctx, recorded, o.duration)
			if err != nil {
				return nil, nil, fmt.Errorf("measure %s: %w", c.name, err)
			}
			rounds[c.name] = append(rounds[c.name], measured)
			fmt.Fprintf(progress, "round %d of %d, %s: %d admissions\n", n+1, o.rounds, c.name, len(measured.latencies))
		}
	}
	return candidates, rounds, nil
}

// newCandidates returns the floor and what is measured beside it.
func newCandidates(kubeconfig string, environment []string, reference string) []candidate {
	candidates := []candidate{
		{
			name: "constant answer", patched: true,
			start: func(ctx context.Context, dir string) (*server, error) { return startFloor(ctx, dir, environment) },
		},
		{
			name: "webhook", patched: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startWebhook(ctx, kubeconfig, dir, environment)
			},
		},
		{
			name: "webhook, a live read each", live: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startWebhook(ctx, kubeconfig, dir, environment, "--kube-api-qps="+unlimited, "--kube-api-burst="+unlimited)
			},
		},
	}
	if reference != "" {
		candidates = append(candidates, candidate{
			name: "reference webhook", patched: true, optional: true,
			start: func(ctx context.Context, dir string) (*server, error) {
				return startReference(ctx, reference, kubeconfig, dir)
			},
		})
	}
	return candidates
}

// createAccounts creates the ServiceAccounts of the pods, with a role, and those of
// the workers, without.
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
			if err := createAccount(ctx, client, r.namespace, accountWithoutRole(worker), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure starts the server, asks it for the duration, and stops it.
func (c candidate) measure(ctx context.Context, recorded []review, duration time.Duration) (measured round, err error) {
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
		sizes, err := server.check(ctx, reviews, c.patched)
		if err != nil {
			return round{}, err
		}
		workers = append(workers, worker{reviews, sizes})
	}
	if _, err := server.drive(ctx, workers, warmUp); err != nil {
		return round{}, err
	}
	return c.measureWarm(ctx, server, workers, duration)
}

func (c candidate) measureWarm(ctx context.Context, server *server, workers []worker, duration time.Duration) (round, error) {
	readsBefore, err := server.liveReads(ctx)
	if err != nil {
		return round{}, err
	}
	before, err := usageOf(server.pid)
	if err != nil {
		return round{}, err
	}
	load, err := server.drive(ctx, workers, duration)
	if err != nil {
		return round{}, err
	}
	after, err := usageOf(server.pid)
	if err != nil {
		return round{}, err
	}
	readsAfter, err := server.liveReads(ctx)
	if err != nil {
		return round{}, err
	}
	wantReads := 0
	if c.live {
		wantReads = len(load.latencies)
	}
	if reads := readsAfter - readsBefore; reads != wantReads {
		return round{}, fmt.Errorf("%d live reads for %d admissions, want %d", reads, len(load.latencies), wantReads)
	}
	return round{load: load, cpu: after.cpu - before.cpu, peak: after.peak}, nil
}

// liveReads is how many ServiceAccounts without a role the webhook has read from the
// API server: 0 for another server.
func (s *server) liveReads(ctx context.Context) (int, error) {
	if s.metricsURL == "" {
		return 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.metricsURL, nil)
	if err != nil {
		return 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	scrape, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^pod_identity_webhook_live_reads_total\{result="no_role"\} (\S+)$`).FindSubmatch(scrape)
	if found == nil {
		return 0, fmt.Errorf("%s does not count the live reads", s.metricsURL)
	}
	reads, err := strconv.ParseFloat(string(found[1]), 64)
	return int(reads), err
}
