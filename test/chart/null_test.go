package chart_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

// readChart returns the content of a YAML or JSON file of the chart.
func readChart(t *testing.T, file string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chart.Path(), file))
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := yaml.UnmarshalStrict(content, &decoded); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return decoded
}

// writeYAML writes a file into a temporary directory and returns its path.
func writeYAML(t *testing.T, content any) string {
	t.Helper()
	written, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, written, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// isKubernetes reports whether the entries of a value belong to a Kubernetes type. null
// removes such an entry. OpenShift, for example, needs podSecurityContext.runAsUser
// removed.
func isKubernetes(path string, schema map[string]any) bool {
	_, has := schema["properties"]
	return !has || path == ".resources"
}

// TestSchema_requiresEachValue finds values that the schema does not require. Helm would
// drop such a value without an error if it is null, or if an upgrade with
// --reuse-values lacks it.
func TestSchema_requiresEachValue(t *testing.T) {
	var check func(path string, values, schema map[string]any)
	check = func(path string, values, schema map[string]any) {
		if isKubernetes(path, schema) {
			return
		}
		var got []string
		required, _ := schema["required"].([]any)
		for _, name := range required {
			got = append(got, name.(string))
		}
		slices.Sort(got)
		if want := slices.Sorted(maps.Keys(values)); !slices.Equal(got, want) {
			t.Errorf("%q requires %q, want %q", path, got, want)
		}
		for name, value := range values {
			value, isMap := value.(map[string]any)
			property, has := schema["properties"].(map[string]any)[name].(map[string]any)
			if isMap && has {
				check(path+"."+name, value, property)
			}
		}
	}
	check("", readChart(t, "values.yaml"), readChart(t, "values.schema.json"))
}

// TestValues_null sets each value of values.yaml to null. A key is null if all its items
// are commented out. Helm removes null keys before it validates the values.
func TestValues_null(t *testing.T) {
	tested := 0
	var test func(path []string, values, schema map[string]any)
	test = func(path []string, values, schema map[string]any) {
		required := map[string]any{}
		for name, value := range values {
			tested++
			if len(path) > 0 && isKubernetes("."+strings.Join(path, "."), schema) {
				manifests, err := chart.Template(t.Context(), namespace, "--values="+writeYAML(t, at(path, map[string]any{name: nil})))
				if err != nil || bytes.Contains(manifests, []byte("null")) || bytes.Contains(manifests, []byte("<nil>")) {
					t.Errorf("%s of %s: got %v\n%s\nwant manifests without it", name, path, err, manifests)
				}
			} else {
				required[name] = nil
			}
			if value, isMap := value.(map[string]any); isMap {
				properties, _ := schema["properties"].(map[string]any)
				property, _ := properties[name].(map[string]any)
				test(append(slices.Clone(path), name), value, property)
			}
		}
		if len(required) == 0 {
			return
		}
		_, err := chart.Template(t.Context(), namespace, "--values="+writeYAML(t, at(path, required)))
		where := "at '" + strings.Join(append([]string{""}, path...), "/") + "': missing propert"
		var line string
		if err != nil {
			line = err.Error()[max(0, strings.Index(err.Error(), where)):]
			line, _, _ = strings.Cut(line, "\n")
		}
		for name := range required {
			if !strings.HasPrefix(line, where) || !strings.Contains(line, "'"+name+"'") {
				t.Errorf("%s of %s: got %v, want an error with its name", name, path, err)
			}
		}
	}
	test(nil, readChart(t, "values.yaml"), readChart(t, "values.schema.json"))
	if tested < 100 {
		t.Errorf("got %d values, want at least 100", tested)
	}
}

// at returns values in which the path leads to values.
func at(path []string, values map[string]any) map[string]any {
	for _, key := range slices.Backward(path) {
		values = map[string]any{key: values}
	}
	return values
}

// TestValues_umbrella renders a chart that has this chart as a dependency.
func TestValues_umbrella(t *testing.T) {
	const name = "pod-identity-webhook"
	umbrella := t.TempDir()
	if err := os.CopyFS(filepath.Join(umbrella, "charts", name), os.DirFS(chart.Path())); err != nil {
		t.Fatal(err)
	}
	metadata, err := yaml.Marshal(map[string]any{
		"apiVersion": "v2", "name": "umbrella", "version": "1.0.0",
		"dependencies": []any{map[string]any{"name": name, "version": readChart(t, "Chart.yaml")["version"], "condition": name + ".enabled"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(umbrella, "Chart.yaml"), metadata, 0o600); err != nil {
		t.Fatal(err)
	}
	render := func(values map[string]any, own bool) (string, error) {
		path, ownPath := writeYAML(t, map[string]any{name: values, "global": map[string]any{"region": "eu-west-1"}}), filepath.Join(umbrella, "values.yaml")
		args := []string{"--values=" + path}
		err := os.RemoveAll(ownPath)
		if own {
			args, err = nil, os.Rename(path, ownPath)
		}
		if err != nil {
			t.Fatal(err)
		}
		manifests, err := chart.TemplateChart(t.Context(), umbrella, chart.Release, namespace, args...)
		return strings.TrimSpace(string(manifests)), err
	}
	defaults, err := render(map[string]any{}, false)
	if err != nil {
		t.Fatal(err)
	}
	tokenAudience, excludedNamespaces := map[string]any{"tokenAudience": nil}, map[string]any{"guard": map[string]any{"excludedNamespaces": nil}}
	for _, test := range []struct {
		values map[string]any
		own    bool   // if true, they are in the umbrella chart's values.yaml
		want   string // manifests, or part of the error
	}{
		{map[string]any{"enabled": true}, false, defaults},
		{map[string]any{"enabled": true}, true, defaults},
		{map[string]any{"enabled": false}, false, ""},
		{map[string]any{"enabled": false}, true, ""},
		{map[string]any{"replica": 3}, true, "replica"},
		{tokenAudience, false, "missing property 'tokenAudience'"},
		{excludedNamespaces, false, "at '/guard': missing property 'excludedNamespaces'"},
		// For a null in the umbrella chart's own values, Helm uses this chart's default.
		{tokenAudience, true, defaults},
		{excludedNamespaces, true, defaults},
	} {
		got, err := render(test.values, test.own)
		if err == nil && got != test.want || err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v, own %t: got %d bytes of manifests and %v", test.values, test.own, len(got), err)
		}
	}
}
