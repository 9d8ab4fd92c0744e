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

// othersMetrics are not the webhook's: those of the API server are in
// k8s.io/apiserver, below pkg/admission.
var othersMetrics = map[string]bool{
	"apiserver_admission_webhook_fail_open_count":       true,
	"apiserver_admission_webhook_rejection_count":       true,
	"apiserver_validating_admission_policy_check_total": true,
	"process_resident_memory_bytes":                     true,
	"up":                                                true,
}

var metricName = regexp.MustCompile(`\b(?:[a-z]+_)+[a-z]+\{|\bup\{`)

// TestMonitoring_metricsExist would fail for a metric that was
// renamed, whose alert would then never come.
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
			t.Errorf("%s: only %q look like metrics", what, names)
		}
		for _, name := range names {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "{"), "_bucket")
			if !registered[name] && !othersMetrics[name] {
				t.Errorf("%s: nothing has the metric %s", what, name)
			}
		}
	}
}

// registeredMetrics returns the names that the webhook's sources give to metrics.
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
		t.Fatal("the dashboard is no JSON")
	}
	rendered, err := chart.Render(t.Context(), namespace, "dashboard.enabled=true", "dashboard.annotations.grafana_folder=AWS")
	if err != nil {
		t.Fatal(err)
	}
	configMap := one[*corev1.ConfigMap](t, decode(t, rendered))
	if got := configMap.Data["pod-identity-webhook.json"]; strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
		t.Error("the ConfigMap has something else than the dashboard's file")
	}
	if configMap.Labels["grafana_dashboard"] != "1" || configMap.Annotations["grafana_folder"] != "AWS" {
		t.Errorf("Grafana's sidecar does not find %v %v", configMap.Labels, configMap.Annotations)
	}
}

// TestDashboard_panelLayout also finds a panel that asks nothing.
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
			t.Errorf("%s has the id of %s", panel.Title, other)
		}
		ids[panel.ID] = panel.Title
		if len(panel.Targets) == 0 {
			t.Errorf("%s asks nothing", panel.Title)
		}
		at := panel.GridPos
		if at.X+at.W > 24 {
			t.Errorf("%s is wider than the screen", panel.Title)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, has := taken[[2]int{x, y}]; has && other != panel.Title {
					t.Fatalf("%s covers %s", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
	}
}
