package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestParseScaleOptions_invalid(t *testing.T) {
	for _, args := range [][]string{
		{"-sizes="},
		{"-sizes=0"},
		{"-sizes=1,x"},
		{"-starts=0"},
		{"-idle=0s"},
		{"-for=-1s"},
		{"-only=memory"},
		{"-env=GOGC"},
		{"-env==100"},
		{"-plots=p", "-only=live"},
		{"-plots=p", "-sizes=1000"},
		{"something"},
	} {
		if _, err := parseScaleOptions(args); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}

func TestParseScaleOptions(t *testing.T) {
	o, err := parseScaleOptions([]string{"-sizes=200,100,200", "-env=GOGC=50", "-env=A=b=c", "-only=", "-plots="})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{100, 200}; !slices.Equal(o.sizes, want) {
		t.Errorf("got sizes %v, want %v", o.sizes, want)
	}
	if want := []string{"GOGC=50", "A=b=c"}; !slices.Equal(o.environment, want) {
		t.Errorf("got environment %q, want %q", o.environment, want)
	}
	if o, err = parseScaleOptions(nil); err != nil || o.sizes[len(o.sizes)-1] != 100_000 {
		t.Errorf("got default sizes %v, error %v", o.sizes, err)
	}
}

// footprintOf returns figures that grow linearly with the number of ServiceAccounts, and
// one start that is an outlier.
func footprintOf(accounts int) memoryUsage {
	n := time.Duration(accounts)
	one := start{
		ready: 10*time.Millisecond + n*20*time.Microsecond, cpu: n * 10 * time.Microsecond,
		peak: 30e6 + uint64(accounts)*500, received: int64(accounts) * 60,
	}
	exception := start{ready: time.Hour, cpu: time.Hour, peak: 1e12, received: 1e12}
	return memoryUsage{
		accounts: accounts, starts: []start{one, exception, one},
		idleUsage: idleUsage{cpu: 10 * time.Millisecond, took: 30 * time.Second, resident: 25e6 + uint64(accounts)*100},
	}
}

func TestMemoryReportTable(t *testing.T) {
	var out strings.Builder
	writeFootprints(&out, machine{CPU: "some CPU", Cores: 2, Go: "go1.26", Platform: "linux/amd64"}, []string{"A=1", "B=2"},
		[]memoryUsage{footprintOf(1000), footprintOf(10_000), footprintOf(100_000)})
	const want = `some CPU, 2 cores, go1.26, linux/amd64; with A=1 B=2; 1 ServiceAccount in 10 has a role; medians of 3 starts; idle figures are of the last start, over 30s

| ServiceAccounts | ready after | CPU until ready | peak memory | idle memory | idle CPU per minute | received |
| --------------- | ----------- | --------------- | ----------- | ----------- | ------------------- | -------- |
| 1000            | 0.03 s      | 0.01 s          | 30.5 MB     | 25.1 MB     | 0.02 s              | 0.1 MB   |
| 10000           | 0.21 s      | 0.10 s          | 35.0 MB     | 26.0 MB     | 0.02 s              | 0.6 MB   |
| 100000          | 2.01 s      | 1.00 s          | 80.0 MB     | 35.0 MB     | 0.02 s              | 6.0 MB   |
| each additional | 20.0 µs     | 10.0 µs         | 500 B       | 100 B       | 0.0 µs              | 60 B     |
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCostPerServiceAccount_flat(t *testing.T) {
	if got := secondsEach(-1e-9); got != "0.0 µs" {
		t.Errorf("got %s", got)
	}
	if got := bytesEach(-.1); got != "0 B" {
		t.Errorf("got %s", got)
	}
	if got := bytesEach(-2); got != "-2 B" {
		t.Errorf("got %s", got)
	}
}

func TestCostPerServiceAccount_singleSize(t *testing.T) {
	var out strings.Builder
	writeFootprints(&out, machine{}, nil, []memoryUsage{footprintOf(1000)})
	if got := out.String(); strings.Contains(got, "each additional") || strings.Contains(got, "NaN") || !strings.Contains(got, "| 1000 ") {
		t.Errorf("got\n%s", got)
	}
}

func TestMemoryReport_busyMachine(t *testing.T) {
	calm, start, idle := footprintOf(1000), footprintOf(1000), footprintOf(1000)
	start.starts[2].others = .3
	idle.idleUsage.others = .3
	for name, test := range map[string]struct {
		of   memoryUsage
		want bool
	}{"quiet": {calm, false}, "busy at a start": {start, true}, "busy when idle": {idle, true}} {
		var out strings.Builder
		writeFootprints(&out, machine{}, nil, []memoryUsage{test.of})
		if got := strings.Contains(out.String(), "NOT QUIET"); got != test.want {
			t.Errorf("%s: got warning %t, want %t", name, got, test.want)
		}
	}
}

func TestMemoryReport_plots(t *testing.T) {
	dir := t.TempDir()
	if err := plotFootprints(dir, machine{CPU: "some CPU"}, []memoryUsage{footprintOf(1000), footprintOf(100_000)}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.svg": "peak, while it starts", "startup.svg": "time until ready"} {
		svg, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{want, "some CPU", ">100000<", ">0<"} {
			if !strings.Contains(string(svg), want) {
				t.Errorf("%s does not contain %q", file, want)
			}
		}
	}
}

func TestSeed_roleRatio(t *testing.T) {
	names, roles := map[string]bool{}, 0
	for n := range 10 * seedNamespaces {
		account := seedAccount(n)
		names[account.Namespace+"/"+account.Name] = true
		if account.Annotations["eks.amazonaws.com/role-arn"] != "" {
			roles++
		}
	}
	if len(names) != 10*seedNamespaces || roles != seedNamespaces {
		t.Errorf("got %d of %d ServiceAccounts with a role, want %d of %d", roles, len(names), seedNamespaces, 10*seedNamespaces)
	}
}

func TestMemoryUsage_otherProcesses(t *testing.T) {
	now := time.Now()
	before := usageSnapshot{at: now, of: map[int]time.Duration{1: time.Second}, self: time.Second, all: 10 * time.Second}
	after := usageSnapshot{
		at: now.Add(2 * time.Second), self: 2 * time.Second, all: 16 * time.Second,
		// The second process started since then.
		of: map[int]time.Duration{1: 2 * time.Second, 2: 3 * time.Second},
	}
	of, others := after.since(before)
	if of[1] != time.Second || of[2] != 3*time.Second {
		t.Errorf("got CPU times %v", of)
	}
	// 1 s of 2 s on all cores.
	if want, got := .5, others*float64(runtime.NumCPU()); got < want-.01 || got > want+.01 {
		t.Errorf("got %v of one core for others, want %v", got, want)
	}
}

func TestCountingProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body[:10])
	}))
	defer server.Close()
	relay, err := startCountingProxy(t.Context(), server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	for range 2 { // over two connections
		answer, err := client.Post("http://"+relay.address(), "text/plain", strings.NewReader(strings.Repeat("a", 1_000_000)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || string(body) != "aaaaaaaaaa" {
			t.Fatalf("got %q, %v", body, err)
		}
		_ = answer.Body.Close()
		transport.CloseIdleConnections()
	}
	received, err := relay.close()
	if err != nil {
		t.Fatal(err)
	}
	if received < 20 || received > 2000 {
		t.Errorf("got %d bytes, want those of two small responses", received)
	}
	if _, err := net.Dial("tcp", relay.address()); err == nil {
		t.Error("the proxy still listens")
	}
}

// apiServer returns the configuration of a fake API server that responds to everything.
func apiServer(t *testing.T) *rest.Config {
	t.Helper()
	certificate, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path+" as "+r.Header.Get("Authorization"))
	})}
	var served sync.WaitGroup
	served.Go(func() { _ = server.ServeTLS(listener, certificate.file, certificate.key) })
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return &rest.Config{Host: "https://" + listener.Addr().String(), BearerToken: "token", TLSClientConfig: rest.TLSClientConfig{CAData: certificate.pem}}
}

func TestDelayProxy(t *testing.T) {
	const late = 100 * time.Millisecond
	dir := t.TempDir()
	certificate, err := newCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	config := apiServer(t)
	reads, err := startDelayProxy(t.Context(), late, certificate, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := reads.close(); err != nil {
			t.Error(err)
		}
	}()
	// The kubeconfig as the webhook gets it.
	kubeconfig, err := kubeconfigFor(dir, reads.address(), certificate.pem, config)
	if err != nil {
		t.Fatal(err)
	}
	found, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(found)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) time.Duration {
		start := time.Now()
		answer, err := client.Get("https://" + reads.address() + path)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != path+" as Bearer token" {
			t.Errorf("%s: got response %q, error %v", path, body, err)
		}
		return time.Since(start)
	}

	const account = "/api/v1/namespaces/live/serviceaccounts/a"
	for range 3 { // sequentially
		if took := get(account); took < late {
			t.Errorf("got duration %s of a read, want %s or more", took, late)
		}
	}
	if most := reads.most(); most != 1 {
		t.Errorf("got %d concurrent reads, want 1", most)
	}
	get("/api/v1/serviceaccounts")
	get("/api/v1/namespaces/live/serviceaccounts")
	if len(reads.underWay) != 1 {
		t.Errorf("got counted %v, want only the read", reads.underWay)
	}

	var asked sync.WaitGroup
	for _, path := range []string{account, account, account + "2"} {
		asked.Go(func() { get(path) })
	}
	asked.Wait()
	if most := reads.most(); most != 2 {
		t.Errorf("got %d concurrent reads of one ServiceAccount, want 2", most)
	}
}

func TestPodLoadCheck_invalid(t *testing.T) {
	cached, live := lookup{webhook: true}, lookup{webhook: true, live: true}
	late := lookup{webhook: true, live: true, late: lateBy}
	for name, test := range map[string]struct {
		of   podLoad
		fine bool
	}{
		"cached, no read":                      {podLoad{lookup: cached}, true},
		"cached, but a read":                   {podLoad{lookup: cached, reads: 1}, false},
		"live reads":                           {podLoad{lookup: live, reads: 10}, true},
		"live, no read":                        {podLoad{lookup: live}, false},
		"delayed, one concurrent read":         {podLoad{lookup: late, reads: 10, atOnce: 1}, true},
		"delayed, two concurrent reads":        {podLoad{lookup: late, reads: 10, atOnce: 2}, false},
		"delayed, reads not seen by the proxy": {podLoad{lookup: late, reads: 10}, false},
		"no webhook, no read":                  {podLoad{}, true},
	} {
		if err := test.of.check(); (err == nil) != test.fine || err != nil && !errors.Is(err, errReads) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDueTimes(t *testing.T) {
	due := dueTimes(2 * time.Second)
	if len(due) != 2*podsPerSecond || due[0] != 0 || due[podsPerSecond] != time.Second {
		t.Errorf("got %d due times, the first at %s", len(due), due[0])
	}
	of := map[string]int{}
	for n := range due {
		of[livePod(n, 4).Spec.ServiceAccountName]++
	}
	if len(of) != 4 || of[accountWithoutRole(3)] != len(due)/4 {
		t.Errorf("got ServiceAccounts %v, want 4 in turn", of)
	}
}

func TestLiveReadsTable(t *testing.T) {
	latencies := []time.Duration{2 * time.Millisecond, 4 * time.Millisecond}
	var out strings.Builder
	writeLive(&out, machine{CPU: "some CPU", Cores: 2, Go: "go1.26", Platform: "linux/amd64"}, 10*time.Second, []podLoad{
		{lookup: lookup{name: "no webhook"}, accounts: 1, load: load{latencies: latencies}, apiServer: 4 * time.Millisecond},
		{
			lookup: lookup{name: "late", webhook: true, live: true, late: lateBy}, accounts: 200, load: load{latencies: latencies},
			apiServer: 6 * time.Millisecond, webhookCPU: time.Millisecond, reads: 1, atOnce: 1, others: .2,
		},
	})
	const want = `some CPU, 2 cores, go1.26, linux/amd64; 200 pods per second of ServiceAccounts without a role, for 10s; CPU and reads per pod; concurrent: most reads of one ServiceAccount at the same time

|            | ServiceAccounts | p50     | p99     | CPU of the API server | CPU of the webhook | reads | concurrent |
| ---------- | --------------- | ------- | ------- | --------------------- | ------------------ | ----- | ---------- |
| no webhook | 1               | 2.00 ms | 4.00 ms | 2000 µs               |                    |       |            |
| late       | 200             | 2.00 ms | 4.00 ms | 3000 µs               | 500 µs             | 0.50  | 1          |

NOT QUIET: other processes used up to 20 % of the CPU time; repeat the measurement without other load
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPause_contextCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := pause(t.Context(), -time.Second); err != nil {
		t.Errorf("got %v for a time in the past", err)
	}
}
