package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/cert"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
)

// recordingRegistry is a registry that keeps its collectors, since Gather returns
// nothing for a vector that has no child yet.
type recordingRegistry struct {
	*prometheus.Registry
	collectors []prometheus.Collector
}

func (r *recordingRegistry) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return r.Registry.Register(c)
}

func (r *recordingRegistry) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// metricType returns the type of the metrics of a collector. gathered has the types of the
// metrics that have values, by name.
func metricType(c prometheus.Collector, name string, gathered map[string]string) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	return gathered[name]
}

// description parses a prometheus.Desc, whose fields only its String method shows.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", (?:unit: "[^"]*", )?constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}\}$`)

// registered returns a row for each metric that the webhook registers with the flags.
// It does not include those about Go and the process.
func registered(t *testing.T, args ...string) map[string]string {
	t.Helper()
	rows := map[string]string{}
	config, err := parseFlags(append([]string{"--kube-api=http://127.0.0.1:1", "--bind-address=127.0.0.1", "--port=0", "--metrics-port=0"}, args...), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	registry := &recordingRegistry{Registry: prometheus.NewRegistry()}
	config.shutdownDelay = 0
	if err := run(ctx, config, slog.New(slog.DiscardHandler), registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	gathered := map[string]string{}
	for _, family := range families {
		gathered[family.GetName()] = strings.ToLower(family.GetType().String())
	}
	for _, collector := range registry.collectors {
		descriptions := make(chan *prometheus.Desc, 1000)
		collector.Describe(descriptions)
		close(descriptions)
		for desc := range descriptions {
			match := description.FindStringSubmatch(desc.String())
			if match == nil {
				t.Fatalf("cannot parse %s", desc)
			}
			name, help, labels := match[1], match[2], match[4]
			if !strings.HasPrefix(name, "pod_identity_webhook_") {
				continue
			}
			for label := range strings.SplitSeq(match[3], ",") {
				if key, _, found := strings.Cut(label, "="); found {
					labels = strings.TrimPrefix(labels+","+key, ",")
				}
			}
			kind := metricType(collector, name, gathered)
			if labels != "" {
				kind += " by `" + strings.ReplaceAll(labels, ",", "`, `") + "`"
			}
			rows[name] = docgen.Row("`"+name+"`", docgen.Code(help)+" ("+kind+")")
		}
	}
	return rows
}

func TestReference_metrics(t *testing.T) {
	directory := t.TempDir()
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificateFile, keyFile := write("tls.crt", certificate), write("tls.key", key)
	var page strings.Builder
	page.WriteString("# Metrics\n\nThis page is for operators of the webhook. " + docgen.Note +
		"\n`GET /metrics` on `--metrics-port` also has the metrics of Go (`go_*`) and of the process (`process_*`). See [Monitoring](../monitoring.md) for the metrics to watch.\n")
	always := registered(t)
	section := func(title string, rows map[string]string) {
		page.WriteString("\n## " + title + "\n\n" + docgen.TableHead("metric", "meaning"))
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			page.WriteString(rows[name])
		}
	}
	section("Always", always)
	with := func(title string, args ...string) {
		rows := registered(t, args...)
		maps.DeleteFunc(rows, func(name, row string) bool { return always[name] == row })
		section(title, rows)
	}
	with("With a certificate from files (`--tls-cert`)", "--tls-cert="+certificateFile, "--tls-key="+keyFile)
	with("With a client CA (`--client-ca-file`)", "--client-ca-file="+certificateFile)
	with("With roles from a ConfigMap (`--watch-config-map`)", "--watch-config-map")
	with("With EKS Pod Identity (`--watch-container-credentials-config`)",
		"--watch-container-credentials-config="+write("list.json", []byte(`{"identities":[]}`)))
	with("With a role policy (`--role-policy`)", "--role-policy=on")
	docgen.Check(t, "../../docs/reference/metrics.md", page.String(), *update)
}
