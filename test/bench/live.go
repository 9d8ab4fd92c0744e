package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	// podsPerSecond is the rate of creations. It does not depend on the response times:
	// clients that wait for responses would send less to a slow API server.
	podsPerSecond = 200
	// manyAccounts is the number of the pods' ServiceAccounts if reads are not to be
	// shared.
	manyAccounts = 200
	// liveWarmUp is the time before the measurement.
	liveWarmUp = 3 * time.Second
	// lateBy is the delay of reads, if they are delayed.
	lateBy = 50 * time.Millisecond
	// liveNamespace is the namespace of the pods.
	liveNamespace = "live"
)

// lookup is a way to admit pods of ServiceAccounts without a role.
type lookup struct {
	name    string
	webhook bool
	live    bool
	late    time.Duration
	// accounts are the numbers of the pods' ServiceAccounts to measure.
	accounts []int
}

func lookups() []lookup {
	both := []int{1, manyAccounts}
	return []lookup{
		{name: "no webhook", accounts: []int{1}},
		{name: "cached", webhook: true, accounts: both},
		{name: "live", webhook: true, live: true, accounts: both},
		{name: fmt.Sprintf("live, delayed by %d ms", lateBy.Milliseconds()), webhook: true, live: true, late: lateBy, accounts: both},
	}
}

// podLoad is the result of creating pods.
type podLoad struct {
	lookup
	load

	accounts              int
	apiServer, webhookCPU time.Duration // CPU time for all pods
	reads                 int
	// atOnce is the maximum number of concurrent reads of one ServiceAccount, or 0 if
	// not known.
	atOnce int
	others float64
}

// measureLive creates pods in its own cluster, with and without the webhook.
func measureLive(ctx context.Context, duration time.Duration, environment []string, progress io.Writer) (loads []podLoad, err error) {
	cluster, _, remove, err := startControlPlane(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	client, err := protobufClient(cluster)
	if err != nil {
		return nil, err
	}
	if err := createLiveAccounts(ctx, client); err != nil {
		return nil, err
	}
	for _, lookup := range lookups() {
		measured, err := measureLookup(ctx, cluster, client, lookup, duration, environment)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", lookup.name, err)
		}
		loads = append(loads, measured...)
		fmt.Fprintf(progress, "created pods with %s\n", lookup.name)
	}
	return loads, nil
}

// measureLookup creates pods with each number of ServiceAccounts.
func measureLookup(ctx context.Context, cluster *controlplane.ControlPlane, client kubernetes.Interface, lookup lookup, duration time.Duration, environment []string) (loads []podLoad, err error) {
	dir, err := os.MkdirTemp("", "pod-identity-webhook-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	admission, err := startAdmission(ctx, cluster, client, lookup, dir, environment)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, admission.stop()) }()
	for _, accounts := range lookup.accounts {
		if _, err := createPods(ctx, client, accounts, liveWarmUp); err != nil {
			return nil, err
		}
		measured, err := admission.measure(ctx, cluster, client, accounts, duration)
		if err != nil {
			return nil, err
		}
		measured.lookup = lookup
		if err := measured.check(); err != nil {
			return nil, err
		}
		loads = append(loads, measured)
	}
	return loads, nil
}

// admission is the admission control for the pods.
type admission struct {
	webhook *webhookprocess.Webhook // nil for none
	late    *delayProxy             // nil for none
}

func startAdmission(ctx context.Context, cluster *controlplane.ControlPlane, client kubernetes.Interface, lookup lookup, dir string, environment []string) (admission, error) {
	if !lookup.webhook {
		return admission{}, nil
	}
	var a admission
	kubeconfig := "" // the default of startWebhook
	if lookup.late > 0 {
		certificate, err := newCertificate(dir)
		if err != nil {
			return admission{}, err
		}
		config, err := webhookprocess.ChartConfig(ctx, cluster)
		if err != nil {
			return admission{}, err
		}
		if a.late, err = startDelayProxy(ctx, lookup.late, certificate, config); err != nil {
			return admission{}, err
		}
		if kubeconfig, err = kubeconfigFor(dir, a.late.address(), certificate.pem, config); err != nil {
			return admission{}, errors.Join(err, a.stop())
		}
	}
	kind := "cached"
	if lookup.live {
		kind = "live"
	}
	var err error
	a.webhook, err = webhookprocess.Start(ctx, webhookprocess.Options{
		Cluster: cluster, Kubeconfig: kubeconfig, Dir: dir, Env: environment, Args: []string{"--service-account-lookup=" + kind},
	})
	if err == nil {
		err = a.webhook.Register(ctx, client, webhookprocess.RegisterOptions{})
	}
	if err != nil {
		return admission{}, errors.Join(err, a.stop())
	}
	return a, nil
}

func (a admission) stop() error {
	if a.webhook != nil {
		a.webhook.Kill()
	}
	if a.late != nil {
		return a.late.close()
	}
	return nil
}

// measure creates pods for the duration and returns the result.
func (a admission) measure(ctx context.Context, cluster *controlplane.ControlPlane, client kubernetes.Interface, accounts int, duration time.Duration) (podLoad, error) {
	pids := []int{cluster.APIServerPID(), cluster.EtcdPID()}
	asked := &server{}
	if a.webhook != nil {
		pids = append(pids, a.webhook.PID())
		asked = &server{caller: newCaller(a.webhook.URL(), certificate{pem: a.webhook.CABundle()}.trusted()), metricsURL: a.webhook.MetricsURL()}
		defer asked.client.CloseIdleConnections()
	}
	readsBefore, err := asked.liveReads(ctx)
	if err != nil {
		return podLoad{}, err
	}
	before, err := takeSnapshot(pids...)
	if err != nil {
		return podLoad{}, err
	}
	created, err := createPods(ctx, client, accounts, duration)
	if err != nil {
		return podLoad{}, err
	}
	after, err := takeSnapshot(pids...)
	if err != nil {
		return podLoad{}, err
	}
	readsAfter, err := asked.liveReads(ctx)
	if err != nil {
		return podLoad{}, err
	}
	used, others := after.since(before)
	measured := podLoad{
		accounts: accounts, load: created, apiServer: used[cluster.APIServerPID()], reads: readsAfter - readsBefore, others: others,
	}
	if a.webhook != nil {
		measured.webhookCPU = used[a.webhook.PID()]
	}
	if a.late != nil {
		measured.atOnce = a.late.most()
	}
	return measured, nil
}

// errReads is the error for an unexpected number of reads.
var errReads = errors.New("unexpected number of live reads")

// check returns errReads if the number of reads does not fit the lookup, or if concurrent
// reads of the same ServiceAccount were not shared.
func (l podLoad) check() error {
	switch {
	case l.live != (l.reads > 0):
		return fmt.Errorf("%w: got %d reads for %d pods", errReads, l.reads, len(l.latencies))
	case l.late > 0 && l.atOnce != 1:
		return fmt.Errorf("%w: got %d concurrent reads of the same ServiceAccount, want at most 1", errReads, l.atOnce)
	}
	return nil
}

// createPods creates pods at podsPerSecond for the duration, with the ServiceAccounts in
// turn. They are dry runs: the API server does everything except the write to etcd.
// A latency starts at the time at which the pod was due.
func createPods(ctx context.Context, client kubernetes.Interface, accounts int, duration time.Duration) (load, error) {
	due := dueTimes(duration)
	created := load{latencies: make([]time.Duration, len(due))}
	group, creating := errgroup.WithContext(ctx)
	start := time.Now()
	for n, after := range due {
		if err := pause(creating, time.Until(start.Add(after))); err != nil {
			break // group.Wait returns the error
		}
		group.Go(func() error {
			_, err := client.CoreV1().Pods(liveNamespace).Create(creating, livePod(n, accounts), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			created.latencies[n] = time.Since(start.Add(after))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return load{}, fmt.Errorf("create pod: %w", err)
	}
	created.took = time.Since(start)
	return created, ctx.Err()
}

// dueTimes returns the due times of the pods, relative to the start.
func dueTimes(duration time.Duration) []time.Duration {
	var due []time.Duration
	const interval = time.Second / podsPerSecond
	for at := time.Duration(0); at < duration; at += interval {
		due = append(due, at)
	}
	return due
}

func livePod(n, accounts int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod-" + strconv.Itoa(n)},
		Spec: corev1.PodSpec{
			ServiceAccountName: accountWithoutRole(n % accounts),
			Containers:         []corev1.Container{{Name: "app", Image: "registry.example.com/app:1"}},
		},
	}
}

func writeLive(w io.Writer, machine machine, duration time.Duration, loads []podLoad) {
	rows := [][]string{{"", "ServiceAccounts", "p50", "p99", "CPU of the API server", "CPU of the webhook", "reads", "concurrent"}}
	others := 0.0
	for _, l := range loads {
		pods := float64(len(l.latencies))
		each := func(cpu time.Duration) string { return microseconds(float64(cpu.Microseconds()) / pods) }
		atOnce := ""
		if l.late > 0 {
			atOnce = strconv.Itoa(l.atOnce)
		}
		row := []string{l.name, strconv.Itoa(l.accounts), milliseconds(l.quantile(.5)), milliseconds(l.quantile(.99)), each(l.apiServer), "", "", atOnce}
		if l.webhook {
			row[5], row[6] = each(l.webhookCPU), fmt.Sprintf("%.2f", float64(l.reads)/pods)
		}
		rows = append(rows, row)
		others = max(others, l.others)
	}
	fmt.Fprintf(w, "%s; %d pods per second of ServiceAccounts without a role, for %s; CPU and reads per pod; concurrent: most reads of one ServiceAccount at the same time\n\n", machine, podsPerSecond, duration)
	writeMarkdown(w, rows)
	writeQuiet(w, others)
}
