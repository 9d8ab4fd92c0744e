package integrations_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// documents returns the objects of an API group in the chart's golden files, by file.
func documents(t *testing.T, group string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../chart/testdata/*.golden.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no golden files: %v", err)
	}
	found := map[string][]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			if strings.Contains(document, "\napiVersion: "+group+"/") {
				found[filepath.Base(file)] = append(found[filepath.Base(file)], document)
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no golden file has an object of group %s", group)
	}
	return found
}

// TestCustomResources_strictDecoding decodes the objects with the operators' own types.
func TestCustomResources_strictDecoding(t *testing.T) {
	for _, group := range []string{"cert-manager.io", "monitoring.coreos.com"} {
		for file, objects := range documents(t, group) {
			for _, object := range objects {
				var header metav1.TypeMeta
				if err := yaml.Unmarshal([]byte(object), &header); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				into, known := map[string]any{
					"Issuer":         &certmanagerv1.Issuer{},
					"Certificate":    &certmanagerv1.Certificate{},
					"ServiceMonitor": &monitoringv1.ServiceMonitor{},
					"PrometheusRule": &monitoringv1.PrometheusRule{},
				}[header.Kind]
				if !known {
					t.Errorf("%s: unknown kind %s", file, header.Kind)
					continue
				}
				if err := yaml.UnmarshalStrict([]byte(object), into); err != nil {
					t.Errorf("%s: %s: %v", file, header.Kind, err)
				}
			}
		}
	}
}
