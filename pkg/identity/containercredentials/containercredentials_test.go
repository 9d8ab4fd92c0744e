package containercredentials

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

var app = types.NamespacedName{Namespace: "default", Name: "app"}

const list = `{"identities":[{"namespace":"default","serviceAccount":"app"},{"namespace":"other","serviceAccount":"app"}]}`

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, content string
		// want is the number of identities, -1 for an error.
		want int
	}{
		{"an empty file lists nothing", "", 0},
		{"white space lists nothing", " \n", 0},
		{"an object without identities lists nothing", "{}", 0},
		{"no identities list nothing", `{"identities":[]}`, 0},
		{"each identity is listed", list, 2},
		{"an identity that is listed twice is listed", `{"identities":[{"namespace":"a","serviceAccount":"b"},{"namespace":"a","serviceAccount":"b"}]}`, 1},
		{"unknown fields are ignored", `{"identities":[{"namespace":"a","serviceAccount":"b","role":"c"}],"version":1}`, 1},
		{"half a file is an error", list[:20], -1},
		{"an array is an error", "[]", -1},
		{"identities that are no array are an error", `{"identities":{}}`, -1},
		{"an identity without a ServiceAccount is an error", `{"identities":[{"namespace":"a"}]}`, -1},
		{"an identity without a namespace is an error", `{"identities":[{"namespace":"","serviceAccount":"b"}]}`, -1},
		{"a null identity is an error", `{"identities":[null]}`, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := reading{content: []byte(test.content)}.parse()
			if (err != nil) != (test.want < 0) || err == nil && len(got) != test.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestTheListFollowsItsFileAndOutlivesBadContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	c, err := New(path, slog.New(slog.NewTextHandler(&log, nil)), registry)
	if err != nil {
		t.Fatalf("a missing file: %v", err)
	}
	write := func(content string) func() error {
		return func() error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	remain := func() error { return nil }
	remove := func() error { return os.Remove(path) }
	directory := func() error { return os.Mkdir(path, 0o700) }
	for _, step := range []struct {
		name                  string
		do                    func() error
		listed, again, warned bool
	}{
		{"still missing", remain, false, false, false},
		{"written", write(list), true, false, false},
		{"half written", write(list[:20]), true, true, false},
		{"then whole: nobody was alarmed", write(list), true, false, false},
		{"half written", write(list[:20]), true, true, false},
		{"and it stays so: told", remain, true, false, true},
		{"told once", remain, true, false, false},
		{"whole", write(list), true, false, false},
		{"truncated", write(""), true, true, false},
		{"and written", write(list), true, false, false},
		{"emptied", write(""), true, true, false},
		{"and it stays so: the list is empty", remain, false, false, false},
		{"written", write(list), true, false, false},
		{"removed", remove, true, true, false},
		{"and it stays so: the list is empty", remain, false, false, false},
		{"unreadable", directory, false, true, false},
		{"and it stays so: told", remain, false, false, true},
		{"removed", remove, false, true, false},
		{"written", write(list), true, false, false},
		{"without it", write(`{"identities":[{"namespace":"other","serviceAccount":"app"}]}`), false, false, false},
		{"listing nobody", write(`{"identities":[]}`), false, false, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		log.Reset()
		again := c.look()
		if warned := strings.Contains(log.String(), "level=WARN"); again != step.again || c.Lists(app) != step.listed || warned != step.warned {
			t.Errorf("%s: listed %t, look again %t, warned %t", step.name, c.Lists(app), again, warned)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			result := ""
			if len(metric.GetLabel()) == 1 {
				result = metric.GetLabel()[0].GetValue()
			}
			got[result] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	if want := map[string]float64{"": 0, "error": 2, "success": 10}; !maps.Equal(got, want) {
		t.Errorf("metrics are %v, want %v", got, want)
	}
}

func TestNewFailsOnContentThatCannotBeUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(path, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(list))
	f.Add([]byte(`{"identities":[{}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		listed, err := reading{content: content}.parse()
		if (err == nil) != (listed != nil) {
			t.Errorf("list %v and error %v", listed, err)
		}
		for name := range listed {
			if name.Namespace == "" || name.Name == "" {
				t.Errorf("%q is listed", name)
			}
		}
	})
}
