// Package soak_test injects faults into a cluster for a configurable time, and then checks
// every created pod.
package soak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

var duration = flag.Duration("duration", time.Minute, "minimum duration; one round of all faults is always completed")

const (
	webhookNamespace = "aws"
	loadNamespace    = "load"
	// steadyPods consecutive creations show that a fault is over.
	steadyPods     = 100
	apiServerGrace = 5 * time.Second
	// spareGoroutines and spareMemory are the tolerated growth of a replica since the start
	// of the load. The growth is for idle connections and memory that is not collected yet.
	spareGoroutines = 20
	spareMemory     = 24 << 20
)

// soak is the state of a run.
type soak struct {
	cluster *controlplane.ControlPlane
	client  kubernetes.Interface
	webhook *chartinstall.Installation
	load    *load
	worst   map[string]faultResult
}

func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.load = startLoad(t.Context(), s.client, loadNamespace)
	began := time.Now()
	for _, f := range firstFaults {
		s.inject(t, f)
	}
	// From here on the first replica is not restarted, so that leaks become visible.
	before := s.size(t)
	for round := 0; round == 0 || time.Since(began) < *duration; round++ {
		for _, f := range faults {
			s.inject(t, f)
		}
	}
	took := time.Since(began)
	if err := s.load.stop(); err != nil {
		t.Fatal(err)
	}
	s.load.check(t)
	s.report(t, took)
	s.expectNoGrowth(t, before)
	s.readLogs(t)
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	s := &soak{cluster: cluster, worst: map[string]faultResult{}}
	if s.client, err = kubernetes.NewForConfig(cluster.Config()); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{webhookNamespace, loadNamespace} {
		if err := controlplane.CreateNamespace(t.Context(), s.client, namespace); err != nil {
			t.Fatal(err)
		}
	}
	for n := range accounts {
		for _, k := range []kind{annotated, mapped, listed, plain} {
			role := ""
			if k == annotated {
				role = k.role(n)
			}
			account := serviceAccount(fmt.Sprintf("%s-%d", k, n), role)
			if _, err := s.client.CoreV1().ServiceAccounts(loadNamespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.writeMapping(t.Context(), goodMapping()); err != nil {
		t.Fatal(err)
	}
	s.webhook, err = chartinstall.Install(t.Context(), cluster, chartinstall.Options{
		Dir: t.TempDir(), Binary: os.Getenv("WEBHOOK"), Namespace: webhookNamespace,
		Values: []string{
			"failurePolicy=Fail", "watchConfigMap=true", "shutdownDelaySeconds=1",
			// Certificates rotate continuously.
			"certificates.certLifetime=20s", "certificates.caLifetime=60s",
		},
		Args: []string{"--watch-container-credentials-config=" + writeList(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, replica := range s.webhook.Replicas {
			replica.Kill()
		}
	})
	return s
}

// writeList writes the list of ServiceAccounts for EKS Pod Identity.
func writeList(t *testing.T) string {
	t.Helper()
	var list struct {
		Identities []map[string]string `json:"identities"`
	}
	for n := range accounts {
		list.Identities = append(list.Identities, map[string]string{
			"namespace": loadNamespace, "serviceAccount": fmt.Sprintf("%s-%d", listed, n),
		})
	}
	content, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func goodMapping() map[string]any {
	mapping := map[string]any{}
	for n := range accounts {
		mapping[fmt.Sprintf("%s/%s-%d", loadNamespace, mapped, n)] = map[string]string{"RoleARN": mapped.role(n)}
	}
	return mapping
}

func (s *soak) writeMapping(ctx context.Context, mapping map[string]any) error {
	content, err := json.Marshal(mapping)
	if err != nil {
		return err
	}
	return s.writeConfig(ctx, string(content))
}

func (s *soak) writeConfig(ctx context.Context, content string) error {
	api := s.client.CoreV1().ConfigMaps(webhookNamespace)
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "pod-identity-webhook"}, Data: map[string]string{"config": content}}
	if _, err := api.Update(ctx, configMap, metav1.UpdateOptions{}); err == nil {
		return nil
	}
	_, err := api.Create(ctx, configMap, metav1.CreateOptions{})
	return err
}

// faultResult is the effect of the faults of one kind.
type faultResult struct {
	times int
	// gap is the longest time without a created pod, slowest the longest duration of one
	// creation, including rejections.
	gap, slowest time.Duration
}

// fault is a fault, and its end, as in real clusters.
type fault struct {
	name string
	do   func(ctx context.Context, s *soak) error
}

// firstFaults are injected once, faults repeatedly, both in this order.
var firstFaults = []fault{
	{"replica 0 killed", func(_ context.Context, s *soak) error { return s.kill(0) }},
	{"both replicas killed", func(_ context.Context, s *soak) error { return s.kill(0, 1) }},
}

var faults = []fault{
	{"replica 1 killed", func(_ context.Context, s *soak) error { return s.kill(1) }},
	{"replica 1 restarted gracefully", func(ctx context.Context, s *soak) error {
		if err := s.webhook.Replicas[1].Stop(ctx); err != nil {
			return err
		}
		return s.webhook.Replicas[1].Start()
	}},
	{"ConfigMap with invalid entries, then invalid JSON, then valid", func(ctx context.Context, s *soak) error {
		bad := goodMapping()
		bad["no-slash"], bad[loadNamespace+"/null"] = map[string]string{"RoleARN": "x"}, nil
		if err := s.writeMapping(ctx, bad); err != nil {
			return err
		}
		if err := s.load.waitSteady(ctx); err != nil {
			return err
		}
		if err := s.writeConfig(ctx, "not JSON"); err != nil {
			return err
		}
		if err := s.load.waitSteady(ctx); err != nil {
			return err
		}
		return s.writeMapping(ctx, goodMapping())
	}},
	{"API server restarted gracefully", func(ctx context.Context, s *soak) error {
		// An API server with open watches takes long to exit, and operators kill it after a
		// grace period.
		patient, cancel := context.WithTimeout(ctx, apiServerGrace)
		defer cancel()
		if err := s.cluster.StopAPIServer(patient); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return s.cluster.StartAPIServer(ctx)
	}},
	{"API server killed", func(ctx context.Context, s *soak) error {
		s.cluster.KillAPIServer()
		return s.cluster.StartAPIServer(ctx)
	}},
	{"etcd killed", func(ctx context.Context, s *soak) error { return s.cluster.RestartEtcd(ctx) }},
	{"Secret of certificates deleted", func(ctx context.Context, s *soak) error {
		return s.client.CoreV1().Secrets(webhookNamespace).Delete(ctx, chart.Release, metav1.DeleteOptions{})
	}},
	{"caBundle removed", func(ctx context.Context, s *soak) error {
		_, err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, chart.ClusterName, types.JSONPatchType,
			[]byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{})
		return err
	}},
}

// kill kills replicas like a crash, and starts them again like the kubelet.
func (s *soak) kill(replicas ...int) error {
	for _, n := range replicas {
		s.webhook.Replicas[n].Kill()
	}
	var failed []error
	for _, n := range replicas {
		failed = append(failed, s.webhook.Replicas[n].Start())
	}
	return errors.Join(failed...)
}

// inject injects a fault and waits until pods are created as before.
func (s *soak) inject(t *testing.T, f fault) {
	t.Helper()
	if err := s.load.waitSteady(t.Context()); err != nil {
		t.Fatalf("before %s: %v", f.name, err)
	}
	s.load.measure()
	if err := f.do(t.Context(), s); err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	if err := s.load.waitSteady(t.Context()); err != nil {
		t.Fatalf("%s: pods are not created after the fault: %v", f.name, err)
	}
	for _, replica := range s.webhook.Replicas {
		if err := replica.WaitReady(t.Context()); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
	}
	gap, slowest := s.load.measure()
	worst := s.worst[f.name]
	s.worst[f.name] = faultResult{worst.times + 1, max(worst.gap, gap), max(worst.slowest, slowest)}
}

// scrape returns the value of a metric without labels of a replica.
func scrape(ctx context.Context, replica *chartinstall.Replica, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, replica.MetricsURL(), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, err
	}
	family := families[name]
	if family == nil {
		return 0, fmt.Errorf("got no metric %s", name)
	}
	var sum float64
	for _, series := range family.Metric {
		sum += series.GetGauge().GetValue() + series.GetCounter().GetValue()
	}
	return sum, nil
}

// size is the resource usage of a replica.
type size struct{ goroutines, memory float64 }

// size returns the size of the first replica.
func (s *soak) size(t *testing.T) (now size) {
	t.Helper()
	for name, value := range map[string]*float64{"go_goroutines": &now.goroutines, "process_resident_memory_bytes": &now.memory} {
		var err error
		if *value, err = scrape(t.Context(), s.webhook.Replicas[0], name); err != nil {
			t.Fatal(err)
		}
	}
	return now
}

// expectNoGrowth waits until the first replica has released the resources for the load.
func (s *soak) expectNoGrowth(t *testing.T, before size) {
	t.Helper()
	after := s.size(t)
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, patience, true, func(context.Context) (bool, error) {
		after = s.size(t)
		return after.goroutines <= before.goroutines+spareGoroutines && after.memory <= before.memory+spareMemory, nil
	})
	if err != nil {
		t.Error("the first replica uses more resources than before")
	}
	t.Logf("first replica, under load and afterward: %.0f and %.0f goroutines, %.0f and %.0f MiB",
		before.goroutines, after.goroutines, before.memory/(1<<20), after.memory/(1<<20))
}

func (s *soak) report(t *testing.T, took time.Duration) {
	t.Helper()
	var table bytes.Buffer
	fmt.Fprintf(&table, "%d pods in %s, %.0f per second; %d attempts were rejected and retried\n",
		len(s.load.created), took.Round(time.Second), float64(len(s.load.created))/took.Seconds(), s.load.refused)
	writer := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(writer, "fault\ttimes\tlongest time without a pod\tslowest pod")
	for _, f := range slices.Concat(firstFaults, faults) {
		worst := s.worst[f.name]
		fmt.Fprintf(writer, "%s\t%d\t%s\t%s\n", f.name, worst.times, worst.gap.Round(10*time.Millisecond), worst.slowest.Round(10*time.Millisecond))
	}
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
}

// readLogs checks that certificates were rotated, and that the logs have no secrets,
// panics or data races.
func (s *soak) readLogs(t *testing.T) {
	t.Helper()
	cas, servings := 0, 0
	for n, replica := range s.webhook.Replicas {
		log, err := replica.Logs()
		if err != nil {
			t.Fatal(err)
		}
		cas += strings.Count(log, `"kind":"ca"`)
		servings += strings.Count(log, `"kind":"serving"`)
		for _, never := range []string{"DATA RACE", "goroutine ", "PRIVATE KEY", "panic"} {
			if strings.Contains(log, never) {
				t.Errorf("replica %d logged %q", n, never)
			}
		}
	}
	if cas < 2 || servings < 4 {
		t.Errorf("got %d CAs and %d serving certificates, want more rotations", cas, servings)
	}
	t.Logf("created %d CAs and %d serving certificates", cas, servings)
}
