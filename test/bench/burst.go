package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/burst"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	// burstRounds is the number of measured rounds of each burst.
	burstRounds = 5
	// maxBurstRatio is the maximum median of a burst with the webhook, as a multiple of the
	// median without it.
	maxBurstRatio = 2
	// burstNamespace is the namespace of the pods.
	burstNamespace = "burst"
)

// errBurst is the error of a burst that failed or took too long.
var errBurst = errors.New("burst")

// burstCase is a kind of burst.
type burstCase struct {
	limits, accounts string
	// labels are the labels of the pods. If burst.SkipLabel is one of them, the API server
	// does not call the webhook.
	labels          map[string]string
	serviceAccounts []string
	medians         []time.Duration
}

func (c burstCase) median() time.Duration {
	slices.Sort(c.medians)
	return c.medians[len(c.medians)/2]
}

// measureBursts creates bursts of pods with and without the webhook, under the
// API server's default limits and under small ones. It returns an error if a pod
// is not created, or if the median with the webhook is more than maxBurstRatio
// times the median without.
func measureBursts(ctx context.Context, out, progress io.Writer) error {
	environment, err := deployedEnvironment()
	if err != nil {
		return err
	}
	rows := [][]string{{"limits", "pods", "median", "ratio to no webhook"}}
	var failed []error
	for _, limits := range []struct {
		name  string
		flags []string
	}{{"default", nil}, {"8 + 6", burst.SmallLimits()}} {
		cases, err := measureBurstsUnder(ctx, limits.name, limits.flags, environment, progress)
		if err != nil {
			return err
		}
		without := cases[0].median()
		for _, c := range cases {
			ratio := float64(c.median()) / float64(without)
			rows = append(rows, []string{c.limits, c.accounts, c.median().Round(time.Millisecond).String(), fmt.Sprintf("%.2f", ratio)})
			if ratio > maxBurstRatio {
				failed = append(failed, fmt.Errorf("%w: limits %s, %s: got median %.2f times the one without the webhook, want at most %d", errBurst, c.limits, c.accounts, ratio, maxBurstRatio))
			}
		}
	}
	fmt.Fprintf(out, "%d pods created at the same moment; medians of %d rounds\n\n", burst.Pods, burstRounds)
	writeMarkdown(out, rows)
	return errors.Join(failed...)
}

func measureBurstsUnder(ctx context.Context, limits string, flags, environment []string, progress io.Writer) (cases []burstCase, err error) {
	dir, err := os.MkdirTemp("", "pod-identity-webhook-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster, err := controlplane.Start(ctx, controlplane.Options{Dir: dir, Log: progress, APIServerFlags: flags})
	if err != nil {
		return nil, err
	}
	defer cluster.Stop()
	author, cases, err := newBurstCases(ctx, cluster, limits)
	if err != nil {
		return nil, err
	}
	webhookDir, err := os.MkdirTemp(dir, "webhook-")
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	webhook, err := webhookprocess.Start(ctx, webhookprocess.Options{Cluster: cluster, Dir: webhookDir, Env: environment})
	if err != nil {
		return nil, err
	}
	defer webhook.Kill()
	if err := webhook.Register(ctx, client, webhookprocess.RegisterOptions{}); err != nil {
		return nil, err
	}
	// The first round is a warm-up and is not measured.
	for round := range burstRounds + 1 {
		for n := range cases {
			// Each round starts with another case.
			c := &cases[(round+n)%len(cases)]
			results, err := burst.Create(ctx, author, burstNamespace, c.serviceAccounts, c.labels)
			if err != nil {
				return nil, err
			}
			if failed := slices.IndexFunc(results, func(r burst.Result) bool { return r.Err != nil }); failed >= 0 {
				return nil, fmt.Errorf("%w: limits %s, %s: create a pod: %w", errBurst, limits, c.accounts, results[failed].Err)
			}
			if round > 0 {
				c.medians = append(c.medians, burst.Median(results))
			}
			fmt.Fprintf(progress, "limits %s, round %d of %d, %s: median %s\n", limits, round, burstRounds, c.accounts, burst.Median(results).Round(time.Millisecond))
		}
	}
	return cases, nil
}

// newBurstCases creates the ServiceAccounts and returns the cases. The first case is
// without the webhook.
func newBurstCases(ctx context.Context, cluster *controlplane.ControlPlane, limits string) (*rest.Config, []burstCase, error) {
	author, err := burst.Author(ctx, cluster, burstNamespace)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, nil, err
	}
	accounts, err := burst.CreateServiceAccounts(ctx, client, burstNamespace, burst.Pods, func(n int) string {
		if n%2 == 0 {
			return appRole + strconv.Itoa(n)
		}
		return ""
	})
	if err != nil {
		return nil, nil, err
	}
	return author, []burstCase{
		{limits: limits, accounts: "without the webhook", serviceAccounts: accounts, labels: map[string]string{burst.SkipLabel: "true"}},
		{limits: limits, accounts: "one ServiceAccount with a role", serviceAccounts: accounts[:1]},
		{limits: limits, accounts: "one ServiceAccount without a role", serviceAccounts: accounts[1:2]},
		{limits: limits, accounts: fmt.Sprintf("%d ServiceAccounts, half of them with a role", burst.Pods), serviceAccounts: accounts},
	}, nil
}
