// Package dos_test attacks the built webhook as a process, as a client in the cluster could.
// It checks that API servers get responses during the attacks and that the webhook's memory
// stays limited. The table in docs/hardening.md is its output.
package dos_test

import (
	"context"
	"debug/buildinfo"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

var (
	attackFor = flag.Duration("attack-for", time.Second, "minimum duration of each attack; from 10s on, all variants run")
	// bounded is the asserted limit: the memory limit in the chart, minus memory of the
	// kernel outside of the process, such as socket buffers.
	bounded = flag.Int64("bounded", 224, "peak resident memory in MiB that an attack may cause")
)

const (
	// raceFactor is the memory overhead of the race detector. Its documentation says 5 to
	// 10 times.
	raceFactor = 10
	// thorough is the duration of attacks from which all variants run.
	thorough = 10 * time.Second
	// patience is the time limit of eventually.
	patience = time.Minute
	appRole  = "arn:aws:iam::111122223333:role/app"
)

var cluster *controlplane.ControlPlane

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(controlplane.RunTests(nil, func(shared *controlplane.ControlPlane) (int, error) {
		cluster = shared
		if err := createServiceAccounts(); err != nil {
			return 0, err
		}
		return m.Run(), nil
	}))
}

func createServiceAccounts() error {
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return err
	}
	for name, annotations := range map[string]map[string]string{"app": {"eks.amazonaws.com/role-arn": appRole}, "none": nil} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
		if _, err := client.CoreV1().ServiceAccounts("default").Create(context.Background(), account, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// result is a row of the table.
type result struct {
	attack, guard      string
	attempts, answered int64
	median, p99, worst time.Duration
	before, peak       int64 // MiB
}

func (r result) String() string {
	return fmt.Sprintf("| %s | %s | %d | %d | %s | %s | %s | %d | %d |", r.attack, r.guard, r.attempts, r.answered,
		round(r.median), round(r.p99), round(r.worst), r.before, r.peak)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// TestAvailabilityUnderAttack runs each attack on two webhooks. The first accepts any
// client, and the attacker has its own IP address, like a pod. The second requires a client
// certificate, and the attacker has the API server's IP address.
func TestAvailabilityUnderAttack(t *testing.T) {
	table := []string{
		"| attack | webhook | attempts | API server responses | median | p99 | worst | MiB before | peak MiB |",
		"|---|---|---|---|---|---|---|---|---|",
	}
	for _, attack := range attacks() {
		for _, guarded := range []bool{false, true} {
			if !guarded && attack.makes == connections && *attackFor < thorough {
				continue
			}
			guard := "open"
			if guarded {
				guard = "client CA"
			}
			t.Run(strings.ReplaceAll(attack.name+" "+guard, " ", "-"), func(t *testing.T) {
				got := runAttack(t, attack, guarded)
				got.attack, got.guard = attack.name, guard
				table = append(table, got.String())
			})
		}
	}
	t.Logf("results of attacks of at least %s each:\n%s", *attackFor, strings.Join(table, "\n"))
}

func runAttack(t *testing.T, attack attack, guarded bool) result {
	target := startTarget(t, guarded)
	healthy := target.startAPIServerLoad(t)
	healthy.waitForMore(t, 50)
	before := target.memory(t, "VmRSS")
	goroutines := target.metric(t, "go_goroutines")
	healthy.forget()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	strike := &attackConn{target: target, t: t}
	var attackers sync.WaitGroup
	for range attack.attackers {
		attackers.Go(func() { attack.run(ctx, strike) })
	}
	end := time.Now().Add(*attackFor)
	eventually(t, "the attack has enough attempts", func() error {
		if left := time.Until(end); left > 0 {
			return fmt.Errorf("the attack continues for %s", left)
		}
		if got := strike.attempts.Load(); got < attack.atLeast {
			return fmt.Errorf("%d of %d attempts", got, attack.atLeast)
		}
		return nil
	})
	healthy.waitForMore(t, answersOf)
	cancel()
	attackers.Wait()
	peak := target.memory(t, "VmHWM")
	got := healthy.stop(t)
	got.attempts, got.before, got.peak = strike.attempts.Load(), before, peak

	limit := *bounded
	if target.raced {
		limit *= raceFactor
	}
	if peak > limit {
		t.Errorf("got peak memory of %d MiB, want at most %d", peak, limit)
	}
	if panics := target.metric(t, "pod_identity_webhook_panics_total"); panics != 0 {
		t.Errorf("got %v panics, want 0", panics)
	}
	eventually(t, "the webhook releases the attack's resources", func() error {
		if now := target.metric(t, "go_goroutines"); now > goroutines+20 {
			return fmt.Errorf("got %v goroutines, %v before the attack", now, goroutines)
		}
		return nil
	})
	return got
}

// target is the attacked webhook.
type target struct {
	*webhookprocess.Webhook
	address string
	guarded bool
	raced   bool
	// certificate is the API server's, if the webhook requires one.
	certificate *clientCertificate
}

func startTarget(t *testing.T, guarded bool) *target {
	t.Helper()
	// As in the chart: most of the memory limit.
	t.Setenv("GOMEMLIMIT", "200MiB")
	dir := t.TempDir()
	target := &target{guarded: guarded}
	args := []string{"--shutdown-delay=0s"}
	if guarded {
		var file string
		target.certificate, file = newClientCertificate(t, dir)
		args = append(args, "--client-ca-file="+file)
	}
	binary := os.Getenv("WEBHOOK")
	if binary == "" {
		binary = webhookprocess.DefaultBinary()
	}
	built, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	target.raced = slices.ContainsFunc(built.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
	target.Webhook, err = webhookprocess.Start(t.Context(), webhookprocess.Options{Binary: binary, Cluster: cluster, Dir: dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	target.address = strings.TrimPrefix(target.URL(), "https://")
	t.Cleanup(func() {
		target.Kill()
		log, err := target.Logs()
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(log, "DATA RACE") {
			t.Errorf("got a data race:\n%s", log)
		}
		if size := len(log); size > 1<<20 {
			t.Errorf("got %d bytes of log", size)
		}
		if t.Failed() {
			t.Logf("last lines of the webhook's log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	return target
}

// memory returns a value of /proc/PID/status in MiB.
func (target *target) memory(t *testing.T, key string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", target.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(key + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no %s in %s", key, status)
	}
	kibibytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes >> 10
}

// metric returns the value of a metric without labels.
func (target *target) metric(t *testing.T, name string) float64 {
	t.Helper()
	response, err := http.Get(target.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	scrape, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(scrape)
	if found == nil {
		t.Fatalf("no metric %s", name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// eventually waits until condition returns nil.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience+*attackFor, true, func(context.Context) (bool, error) {
		last = condition()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

// apiServerLoad has the requests of API servers, on their own connections.
type apiServerLoad struct {
	target   *target
	cancel   context.CancelFunc
	clients  sync.WaitGroup
	answered atomic.Int64

	mu     sync.Mutex
	took   []time.Duration
	failed []error
}

const (
	// healthyClients is the number of API servers next to an attack.
	healthyClients = 4
	// One in liveReadOf requests of a client is for a ServiceAccount without a role, which
	// is read from the API server each time. One in newConnectionOf opens a connection.
	liveReadOf, newConnectionOf = 7, 10
	// answersOf is the minimum number of responses next to an attack. With 100 responses,
	// the p99 is the second-worst latency.
	answersOf = 100
)

func (target *target) startAPIServerLoad(t *testing.T) *apiServerLoad {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	h := &apiServerLoad{target: target, cancel: cancel}
	t.Cleanup(cancel)
	for range healthyClients {
		client := target.client()
		h.clients.Go(func() {
			defer client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				serviceAccount := "app"
				if n%liveReadOf == 0 {
					serviceAccount = "none"
				}
				if n%newConnectionOf == 0 {
					client.CloseIdleConnections()
				}
				start := time.Now()
				err := target.review(ctx, client, serviceAccount)
				if ctx.Err() != nil {
					return
				}
				h.mu.Lock()
				h.took = append(h.took, time.Since(start))
				if err != nil {
					h.failed = append(h.failed, err)
				}
				h.mu.Unlock()
				h.answered.Add(1)
			}
		})
	}
	return h
}

// forget clears the results, so that later ones are counted alone.
func (h *apiServerLoad) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.took = nil
}

func (h *apiServerLoad) waitForMore(t *testing.T, n int64) {
	t.Helper()
	goal := h.answered.Load() + n
	eventually(t, "API servers get responses", func() error {
		if got := h.answered.Load(); got < goal {
			return fmt.Errorf("got %d of %d responses", got, goal)
		}
		return nil
	})
}

func (h *apiServerLoad) stop(t *testing.T) result {
	t.Helper()
	h.cancel()
	h.clients.Wait()
	if len(h.failed) > 0 {
		t.Errorf("got %d of %d failed requests of API servers, first: %v", len(h.failed), len(h.took), h.failed[0])
	}
	slices.Sort(h.took)
	at := func(share float64) time.Duration { return h.took[int(share*float64(len(h.took)-1))] }
	return result{answered: int64(len(h.took)), median: at(.5), p99: at(.99), worst: at(1)}
}
