package integrations_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// rule is an alerting rule of the chart.
type rule struct {
	name      string
	severity  string
	expr      string
	hold      time.Duration
	annotated map[string]string
}

// alerts returns the alerting rules in a golden file of the chart.
func alerts(t *testing.T, golden string) []rule {
	t.Helper()
	var found []rule
	for _, document := range documents(t, "monitoring.coreos.com")[golden] {
		var object monitoringv1.PrometheusRule
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		for _, group := range object.Spec.Groups {
			for _, r := range group.Rules {
				var hold time.Duration
				if r.For != nil {
					parsed, err := model.ParseDuration(string(*r.For))
					if err != nil {
						t.Fatal(err)
					}
					hold = time.Duration(parsed)
				}
				found = append(found, rule{r.Alert, r.Labels["severity"], r.Expr.StrVal, hold, r.Annotations})
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no alerts", golden)
	}
	return found
}

const (
	own   = "monitoring.golden.yaml"       // with self-managed certificates
	files = "monitoring-files.golden.yaml" // with certificate files
)

func TestAlerts_valid(t *testing.T) {
	for _, golden := range []string{own, files} {
		for _, document := range documents(t, "monitoring.coreos.com")[golden] {
			var object struct {
				Kind string
				Spec any
			}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatal(err)
			}
			if object.Kind != "PrometheusRule" {
				continue
			}
			spec, err := yaml.Marshal(object.Spec)
			if err != nil {
				t.Fatal(err)
			}
			_, mistakes := rulefmt.Parse(spec, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
			for _, mistake := range mistakes {
				t.Errorf("%s: %v", golden, mistake)
			}
		}
	}
}

// healthy is an hour of series, one sample per minute, without problems: some old errors, a
// renewed certificate, a pod denied by policy.
const healthy = `
up{JOB,pod="a"} 1x60
pod_identity_webhook_service_accounts_synced{JOB,pod="a"} 1x60
apiserver_admission_webhook_fail_open_count{name="pods.pod-identity-webhook.internal"} 7x60
apiserver_admission_webhook_fail_open_count{name="ephemeralcontainers.pod-identity-webhook.internal"} 0+5x60
apiserver_admission_webhook_fail_open_count{name="another.webhook"} 0+5x60
apiserver_admission_webhook_rejection_count{name="pods.pod-identity-webhook.internal",error_type="no_error"} 0+1x60
apiserver_validating_admission_policy_check_total{policy="irsa-pod-identity-webhook-guard",enforcement_action="allow"} 0+9x60
pod_identity_webhook_admissions_total{JOB,pod="a",outcome="mutated",reason="injected"} 0+60x60
pod_identity_webhook_admissions_total{JOB,pod="a",outcome="denied",reason="role_not_permitted"} 0+1x60
pod_identity_webhook_admissions_total{JOB,pod="a",outcome="error",reason="identity_unknown"} 3x60
pod_identity_webhook_live_reads_total{JOB,pod="a",result="no_role"} 0+60x60
pod_identity_webhook_live_reads_total{JOB,pod="a",result="error"} 2x60
pod_identity_webhook_cache_fallbacks_total{JOB,pod="a",resource="serviceaccounts"} 2x60
pod_identity_webhook_cache_fallbacks_total{JOB,pod="a",resource="namespaces"} 0x30 1x29
pod_identity_webhook_watch_healthy{JOB,pod="a",resource="serviceaccounts"} 1x30 0x5 1x24
pod_identity_webhook_config_map_last_load_successful{JOB,pod="a"} 1x60
pod_identity_webhook_config_map_invalid_entries{JOB,pod="a"} 0x60
pod_identity_webhook_container_credentials_last_load_successful{JOB,pod="a"} 1x60
pod_identity_webhook_container_credentials_invalid_entries{JOB,pod="a"} 0x60
pod_identity_webhook_admission_duration_seconds_bucket{JOB,pod="a",le="0.01"} 0+60x60
pod_identity_webhook_admission_duration_seconds_bucket{JOB,pod="a",le="10"} 0+60x60
pod_identity_webhook_admission_duration_seconds_bucket{JOB,pod="a",le="+Inf"} 0+60x60
pod_identity_webhook_panics_total{JOB,pod="a"} 0x60
pod_identity_webhook_live_read_panics_total{JOB,pod="a",resource="serviceaccounts"} 0x60
pod_identity_webhook_certificate_expiry_timestamp_seconds{JOB,pod="a"} 864000x60
pod_identity_webhook_certificate_errors_total{JOB,pod="a"} 0x30 1x29
pod_identity_webhook_certificate_reloads_total{JOB,pod="a",result="success"} 0+1x60
pod_identity_webhook_certificate_reloads_total{JOB,pod="a",result="error"} 0x30 1x29
pod_identity_webhook_certificate_repairs_total{JOB,pod="a",object="ca_bundle"} 0x30 1x29
pod_identity_webhook_clock_offset_seconds{JOB,pod="a"} -2x60
`

func TestAlerts_healthy(t *testing.T) {
	for _, golden := range []string{own, files} {
		if fired := fire(t, alerts(t, golden), healthy); len(fired) > 0 {
			t.Errorf("%s: got alerts %q, want none", golden, slices.Sorted(maps.Keys(fired)))
		}
	}
}

// TestAlerts_fire changes one series of the healthy hour and expects exactly the given
// alerts.
func TestAlerts_fire(t *testing.T) {
	covered := map[string]bool{}
	for _, test := range []struct {
		name   string
		series string // replaces the one with that name and labels
		golden string
		want   []string
	}{
		{"no replica", `up{JOB,pod="a"} 1x20 0x39`, own, []string{"PodIdentityWebhookDown critical"}},
		{"no replica was ever there", `up{JOB,pod="a"} _x60`, own, []string{"PodIdentityWebhookDown critical"}},
		{"ServiceAccounts cannot be listed", `pod_identity_webhook_service_accounts_synced{JOB,pod="a"} 0x60`, own, []string{"PodIdentityWebhookNotReady warning"}},
		{
			"pods are created without a call", `apiserver_admission_webhook_fail_open_count{name="pods.pod-identity-webhook.internal"} 7+2x60`, own,
			[]string{"PodIdentityWebhookPodsWithoutIdentity critical"},
		},
		{
			"pods are rejected", `apiserver_admission_webhook_rejection_count{name="pods.pod-identity-webhook.internal",error_type="calling_webhook_error"} 0+1x60`, own,
			[]string{"PodIdentityWebhookPodCreationFailing critical"},
		},
		{
			"the guard denies", `apiserver_validating_admission_policy_check_total{policy="irsa-pod-identity-webhook-guard",enforcement_action="deny"} 0+1x60`, own,
			[]string{"PodIdentityWebhookGuardViolations warning"},
		},
		{
			"error responses", `pod_identity_webhook_admissions_total{JOB,pod="a",outcome="error",reason="identity_unknown"} 0+1x60`, own,
			[]string{"PodIdentityWebhookHighErrorRate warning"},
		},
		{"live reads fail", `pod_identity_webhook_live_reads_total{JOB,pod="a",result="error"} 0+1x60`, own, []string{"PodIdentityWebhookLiveReadsFailing warning"}},
		{"reads of ServiceAccounts fail", `pod_identity_webhook_cache_fallbacks_total{JOB,pod="a",resource="serviceaccounts"} 2+1x60`, own, []string{"PodIdentityWebhookUsesCache warning"}},
		{"reads of Namespaces fail", `pod_identity_webhook_cache_fallbacks_total{JOB,pod="a",resource="namespaces"} 0+1x60`, own, []string{"PodIdentityWebhookUsesCache warning"}},
		{"the watch fails", `pod_identity_webhook_watch_healthy{JOB,pod="a",resource="serviceaccounts"} 1x30 0x29`, own, []string{"PodIdentityWebhookWatchFailing warning"}},
		{"a ConfigMap that cannot be decoded", `pod_identity_webhook_config_map_last_load_successful{JOB,pod="a"} 0x60`, own, []string{"PodIdentityWebhookConfigMapInvalid warning"}},
		{"a ConfigMap with an invalid entry", `pod_identity_webhook_config_map_invalid_entries{JOB,pod="a"} 0x50 1x9`, own, []string{"PodIdentityWebhookConfigMapInvalid warning"}},
		{
			"a list for EKS Pod Identity that is missing", `pod_identity_webhook_container_credentials_last_load_successful{JOB,pod="a"} 0x60`, own,
			[]string{"PodIdentityWebhookContainerCredentialsUnusable warning"},
		},
		{
			"a list for EKS Pod Identity with an invalid entry", `pod_identity_webhook_container_credentials_invalid_entries{JOB,pod="a"} 0x50 1x9`, own,
			[]string{"PodIdentityWebhookContainerCredentialsUnusable warning"},
		},
		{"slow responses", `pod_identity_webhook_admission_duration_seconds_bucket{JOB,pod="a",le="0.01"} 0+30x60`, own, []string{"PodIdentityWebhookHighLatency warning"}},
		{"a panic", `pod_identity_webhook_panics_total{JOB,pod="a"} 0x50 1x9`, own, []string{"PodIdentityWebhookPanics warning"}},
		{"a panic in a read", `pod_identity_webhook_live_read_panics_total{JOB,pod="a",resource="serviceaccounts"} 0x50 1x9`, own, []string{"PodIdentityWebhookPanics warning"}},
		{
			"a certificate with 6 days left", `pod_identity_webhook_certificate_expiry_timestamp_seconds{JOB,pod="a"} 518400x60`, own,
			[]string{"PodIdentityWebhookCertificateExpiringSoon warning"},
		},
		{
			"a certificate that expires within the hour", `pod_identity_webhook_certificate_expiry_timestamp_seconds{JOB,pod="a"} 3500x60`, own,
			[]string{"PodIdentityWebhookCertificateExpiringSoon critical", "PodIdentityWebhookCertificateExpiringSoon warning"},
		},
		{
			"a certificate with 4 days left, by value", `pod_identity_webhook_certificate_expiry_timestamp_seconds{JOB,pod="a"} 345600x60`, files,
			[]string{"PodIdentityWebhookCertificateExpiringSoon warning"},
		},
		{
			"self-managed certificates cannot be reconciled", `pod_identity_webhook_certificate_errors_total{JOB,pod="a"} 0+1x60`, own,
			[]string{"PodIdentityWebhookCertificateReconcileFailing warning"},
		},
		{
			"invalid certificate files", `pod_identity_webhook_certificate_reloads_total{JOB,pod="a",result="error"} 0+1x60`, files,
			[]string{"PodIdentityWebhookCertificateReconcileFailing warning"},
		},
		{
			"a tool overwrites the caBundle", `pod_identity_webhook_certificate_repairs_total{JOB,pod="a",object="ca_bundle"} 0+1x60`, own,
			[]string{"PodIdentityWebhookCertificateOverwritten warning"},
		},
		{"a clock that is behind", `pod_identity_webhook_clock_offset_seconds{JOB,pod="a"} 90x60`, own, []string{"PodIdentityWebhookClockSkew warning"}},
		{"a clock that is ahead", `pod_identity_webhook_clock_offset_seconds{JOB,pod="a"} -90x60`, own, []string{"PodIdentityWebhookClockSkew warning"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fired := fire(t, alerts(t, test.golden), changed(healthy, test.series))
			if got := slices.Sorted(maps.Keys(fired)); !slices.Equal(got, test.want) {
				t.Errorf("got alerts %q, want %q", got, test.want)
			}
			for name, annotations := range fired {
				covered[test.golden+" "+name] = true
				for annotation, text := range annotations {
					if strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") || text == "" {
						t.Errorf("%s: got %s %q", name, annotation, text)
					}
				}
			}
		})
	}
	for _, alert := range alerts(t, own) {
		if name := alert.name + " " + alert.severity; !covered[own+" "+name] {
			t.Errorf("no test case causes alert %s", name)
		}
	}
}

// changed returns the series with one in addition, which replaces the series with its name
// and labels if it exists.
func changed(series, one string) string {
	selector, _, _ := strings.Cut(one, " ")
	kept := slices.DeleteFunc(strings.Split(series, "\n"), func(line string) bool { return strings.HasPrefix(line, selector+" ") })
	return strings.Join(append(kept, one), "\n")
}

// fire evaluates alerts at each minute of the hour. It returns the annotations of those that
// fire at some time.
func fire(t *testing.T, alerts []rule, series string) map[string]map[string]string {
	t.Helper()
	job := `job="pod-identity-webhook-metrics",namespace="pod-identity-webhook"`
	var load strings.Builder
	load.WriteString("load 1m\n")
	for line := range strings.Lines(strings.ReplaceAll(series, "JOB", job)) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(&load, "  %s\n", line)
		}
	}
	storage := promqltest.LoadedStorage(t, load.String())
	defer storage.Close()
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 0, 100_000), storage)
	queries := parser.NewParser(parser.Options{})
	fired := map[string]map[string]string{}
	for _, alert := range alerts {
		expr, err := queries.ParseExpr(alert.expr)
		if err != nil {
			t.Fatalf("%s: %v", alert.name, err)
		}
		evaluated := rules.NewAlertingRule(alert.name, expr, alert.hold, 0, labels.EmptyLabels(), labels.FromMap(alert.annotated),
			labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
		for minute := range 60 {
			at := time.Unix(0, 0).Add(time.Duration(minute) * time.Minute)
			if _, err := evaluated.Eval(t.Context(), 0, at, query, nil, 0); err != nil {
				t.Fatalf("%s: %v", alert.name, err)
			}
			for _, active := range evaluated.ActiveAlerts() {
				if active.State == rules.StateFiring {
					fired[alert.name+" "+alert.severity] = active.Annotations.Map()
				}
			}
		}
	}
	return fired
}

// TestDashboard_validQueries replaces Grafana's variables and parses the queries.
func TestDashboard_validQueries(t *testing.T) {
	queries := parser.NewParser(parser.Options{})
	exprs := dashboardQueries(t)
	if len(exprs) < 15 {
		t.Errorf("got %d queries", len(exprs))
	}
	for _, expr := range exprs {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$namespace", "n", "$job", "j").Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s has an undefined variable", expr)
		}
		if _, err := queries.ParseExpr(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
}
