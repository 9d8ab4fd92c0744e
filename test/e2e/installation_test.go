package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
)

// installed is the name of the chart's namespaced objects.
const installed = chart.Release

// install installs the chart with two replicas, which have only the chart's
// permissions. It uninstalls the chart at the end of the test. The test fails if a
// replica logs a secret, a panic or a data race.
func install(t *testing.T, options chartinstall.Options) *chartinstall.Installation {
	t.Helper()
	options.Dir = t.TempDir()
	options.Log = t.Output()
	options.Binary = os.Getenv("WEBHOOK")
	if options.Namespace == "" {
		options.Namespace = fmt.Sprintf("installation-%d", time.Now().UnixNano())
	}
	options.Values = append([]string{"shutdownDelaySeconds=0", "logLevel=4"}, options.Values...)
	started, err := chartinstall.Install(t.Context(), cluster, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		never := []string{"DATA RACE", "goroutine ", "PRIVATE KEY", secret}
		// Logged bodies would contain the keys in base64.
		if certificates, err := newClient(t).CoreV1().Secrets(started.Namespace).Get(context.WithoutCancel(t.Context()), installed, metav1.GetOptions{}); err == nil {
			for _, key := range []string{"ca.key", "tls.key"} {
				if encoded := base64.StdEncoding.EncodeToString(certificates.Data[key]); encoded != "" {
					never = append(never, encoded[:60])
				}
			}
		}
		if err := started.Uninstall(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		for n, replica := range started.Replicas {
			log, err := replica.Logs()
			if err != nil {
				t.Error(err)
			}
			for _, word := range never {
				if strings.Contains(log, word) {
					t.Errorf("replica %d logged %q", n, word)
				}
			}
			if t.Failed() {
				t.Logf("last lines of the log of replica %d:\n%s", n, log[max(0, len(log)-6000):])
			}
		}
	})
	return started
}

// metric returns the sum of a metric's series with the labels, over all running
// replicas. Labels have the form name=value.
func metric(t *testing.T, started *chartinstall.Installation, name string, labels ...string) float64 {
	t.Helper()
	var sum float64
	for _, replica := range started.Replicas {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, replica.MetricsURL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		family := families[name]
		if family == nil {
			t.Fatalf("got no metric %s", name)
		}
	series:
		for _, series := range family.Metric {
			have := map[string]string{}
			for _, label := range series.Label {
				have[label.GetName()] = label.GetValue()
			}
			for _, label := range labels {
				name, value, _ := strings.Cut(label, "=")
				if have[name] != value {
					continue series
				}
			}
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return sum
}
