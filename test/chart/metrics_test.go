package chart_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// othersMetrics are metrics of other programs. Those of the API server are in
// k8s.io/apiserver, below pkg/admission.
var othersMetrics = map[string]bool{
	"apiserver_admission_webhook_fail_open_count":       true,
	"apiserver_admission_webhook_rejection_count":       true,
	"apiserver_validating_admission_policy_check_total": true,
	"process_resident_memory_bytes":                     true,
	"up":                                                true,
}

var metricName = regexp.MustCompile(`\b(?:[a-z]+_)+[a-z]+\{|\bup\{`)

// TestMonitoring_metricsExist finds alerts and panels with a metric that was renamed and
// therefore returns no data.
func TestMonitoring_metricsExist(t *testing.T) {
	registered := registeredMetrics(t)
	dashboard, err := os.ReadFile(dashboardPath())
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]string{"the dashboard": string(dashboard)}
	for _, source := range []string{"self", "cert-manager"} {
		alerts, err := chart.Render(t.Context(), namespace, "prometheusRule.enabled=true", "watchConfigMap=true", "containerCredentials.configMapName=associations", "certificates.source="+source)
		if err != nil {
			t.Fatal(err)
		}
		read["the alerts with the source "+source] = string(alerts)
	}
	for what, text := range read {
		names := metricName.FindAllString(text, -1)
		if len(names) < 10 {
			t.Errorf("%s: got only the metrics %q", what, names)
		}
		for _, name := range names {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "{"), "_bucket")
			if !registered[name] && !othersMetrics[name] {
				t.Errorf("%s: metric %s does not exist", what, name)
			}
		}
	}
}

// registeredMetrics returns the names of metrics in the webhook's source files.
func registeredMetrics(t *testing.T) map[string]bool {
	t.Helper()
	name := regexp.MustCompile(`Name: +"(pod_identity_webhook_[a-z_]+)"`)
	registered := map[string]bool{}
	for _, directory := range []string{"cmd", "pkg", "certs", "internal"} {
		err := filepath.WalkDir(repopath.Path(directory), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			for _, found := range name.FindAllStringSubmatch(string(content), -1) {
				registered[found[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return registered
}

func dashboardPath() string {
	return filepath.Join(chart.Path(), "dashboards", "pod-identity-webhook.json")
}

func TestDashboard_unchanged(t *testing.T) {
	want, err := os.ReadFile(dashboardPath())
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(want) {
		t.Fatal("the dashboard is invalid JSON")
	}
	rendered, err := chart.Render(t.Context(), namespace, "dashboard.enabled=true", "dashboard.annotations.grafana_folder=AWS")
	if err != nil {
		t.Fatal(err)
	}
	configMap := one[*corev1.ConfigMap](t, decode(t, rendered))
	if got := configMap.Data["pod-identity-webhook.json"]; strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
		t.Error("the ConfigMap's content differs from the dashboard's file")
	}
	if configMap.Labels["grafana_dashboard"] != "1" || configMap.Annotations["grafana_folder"] != "AWS" {
		t.Errorf("got labels %v and annotations %v, want those that Grafana's sidecar selects", configMap.Labels, configMap.Annotations)
	}
}

// TestDashboard_panelLayout also finds panels without a query.
func TestDashboard_panelLayout(t *testing.T) {
	content, err := os.ReadFile(dashboardPath())
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	taken, ids := map[[2]int]string{}, map[int]string{}
	for _, panel := range dashboard.Panels {
		if other, has := ids[panel.ID]; has {
			t.Errorf("panel %s has the ID of %s", panel.Title, other)
		}
		ids[panel.ID] = panel.Title
		if len(panel.Targets) == 0 {
			t.Errorf("panel %s has no query", panel.Title)
		}
		at := panel.GridPos
		if at.X+at.W > 24 {
			t.Errorf("panel %s is too wide", panel.Title)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, has := taken[[2]int{x, y}]; has && other != panel.Title {
					t.Fatalf("panel %s overlaps %s", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
	}
}
