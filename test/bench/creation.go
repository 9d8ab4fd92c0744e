package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

// creation is the duration of pod creations through an API server, at podsPerSecond, with
// live reads and without.
type creation struct {
	// Accounts is the number of the pods' ServiceAccounts.
	Accounts int             `json:"serviceAccounts"`
	Rounds   []creationRound `json:"rounds"`
}

// creationRound has the 99th percentile of a round in µs, and the reads per pod.
type creationRound struct {
	Cached float64 `json:"cachedP99Microseconds"`
	Live   float64 `json:"liveP99Microseconds"`
	Reads  float64 `json:"liveReads"`
}

// of returns the median of a figure over all rounds.
func (c creation) of(figure func(creationRound) float64) float64 {
	var all []float64
	for _, round := range c.Rounds {
		all = append(all, figure(round))
	}
	return median(all)
}

// ratio returns the median ratio of live to cached over all rounds.
func (c creation) ratio() float64 {
	return c.of(func(r creationRound) float64 { return r.Live / r.Cached })
}

// measureCreation creates pods, alternating between live and cached lookup.
func measureCreation(ctx context.Context, cluster *controlplane.ControlPlane, o options, environment []string, progress io.Writer) ([]creation, error) {
	client, err := protobufClient(cluster)
	if err != nil {
		return nil, err
	}
	if err := createLiveAccounts(ctx, client); err != nil {
		return nil, err
	}
	numbers := []int{1, manyAccounts}
	both := []lookup{{name: "cached", webhook: true, accounts: numbers}, {name: "live", webhook: true, live: true, accounts: numbers}}
	rounds := map[string][]podLoad{}
	for n := range o.rounds {
		for i := range both {
			of := both[(n+i)%len(both)] // each round starts with another lookup
			loads, err := measureLookup(ctx, cluster, client, of, o.duration, environment)
			if err != nil {
				return nil, fmt.Errorf("create pods with --service-account-lookup=%s: %w", of.name, err)
			}
			rounds[of.name] = append(rounds[of.name], loads...)
			fmt.Fprintf(progress, "round %d of %d: created pods with %s\n", n+1, o.rounds, of.name)
		}
	}
	return newCreations(numbers, rounds["cached"], rounds["live"]), nil
}

// newCreations returns the results of all rounds, one for each number of ServiceAccounts.
func newCreations(numbers []int, cached, live []podLoad) []creation {
	var creations []creation
	for _, accounts := range numbers {
		c := creation{Accounts: accounts}
		others := func(l podLoad) bool { return l.accounts != accounts }
		lives := slices.DeleteFunc(slices.Clone(live), others)
		for n, load := range slices.DeleteFunc(slices.Clone(cached), others) {
			c.Rounds = append(c.Rounds, creationRound{
				Cached: load.quantile(.99), Live: lives[n].quantile(.99), Reads: float64(lives[n].reads) / float64(len(lives[n].latencies)),
			})
		}
		creations = append(creations, c)
	}
	return creations
}

// createLiveAccounts creates the ServiceAccounts of the pods of createPods. They have no
// role.
func createLiveAccounts(ctx context.Context, client kubernetes.Interface) error {
	if err := controlplane.CreateNamespace(ctx, client, liveNamespace); err != nil {
		return err
	}
	for n := range manyAccounts {
		if err := createAccount(ctx, client, liveNamespace, accountWithoutRole(n), nil); err != nil {
			return err
		}
	}
	return nil
}

func writeCreations(w io.Writer, duration time.Duration, creations []creation) {
	rows := [][]string{{"ServiceAccounts", "p99, cached", "p99, live", "ratio", "reads"}}
	for _, c := range creations {
		rows = append(rows, []string{
			fmt.Sprint(c.Accounts),
			milliseconds(c.of(func(r creationRound) float64 { return r.Cached })),
			milliseconds(c.of(func(r creationRound) float64 { return r.Live })),
			fmt.Sprintf("%.2fx", c.ratio()),
			fmt.Sprintf("%.2f", c.of(func(r creationRound) float64 { return r.Reads })),
		})
	}
	fmt.Fprintf(w, "\n%d pods per second through an API server, of ServiceAccounts without a role; medians of %d rounds of %s\n\n",
		podsPerSecond, len(creations[0].Rounds), duration)
	writeMarkdown(w, rows)
}
