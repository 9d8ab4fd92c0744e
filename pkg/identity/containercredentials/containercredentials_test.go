package containercredentials

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
		// want is the number of identities, or -1 for an error.
		want, skipped int
	}{
		{"empty file", "", 0, 0},
		{"white space", " \n", 0, 0},
		{"object without identities", "{}", 0, 0},
		{"no identities", `{"identities":[]}`, 0, 0},
		{"identities are null", `{"identities":null}`, 0, 0},
		{"two identities", list, 2, 0},
		{"duplicate identity", `{"identities":[{"namespace":"a","serviceAccount":"b"},{"namespace":"a","serviceAccount":"b"}]}`, 1, 0},
		{"repeated field, last one counts", `{"identities":[{"namespace":"a","serviceAccount":"b"}],"identities":[{"namespace":"c","serviceAccount":"d"},{}]}`, 1, 1},
		{"unknown fields", `{"identities":[{"namespace":"a","serviceAccount":"b","role":"c"}],"version":1}`, 1, 0},
		{"truncated file", list[:20], -1, 0},
		{"array", "[]", -1, 0},
		{"null", "null", -1, 0},
		{"two values", list + list, -1, 0},
		{"identities are not an array", `{"identities":{}}`, -1, 0},
		{"entry without a ServiceAccount", `{"identities":[{"namespace":"a"},` + list[15:], 2, 1},
		{"entry without a namespace", `{"identities":[{"namespace":"","serviceAccount":"b"},` + list[15:], 2, 1},
		{"null entry", `{"identities":[null,` + list[15:], 2, 1},
		{"entries of the wrong type", `{"identities":["a/b",1,[],{"namespace":1,"serviceAccount":"b"},` + list[15:], 2, 4},
		{"entries with invalid names", `{"identities":[{"namespace":"*","serviceAccount":"b"},{"namespace":"a","serviceAccount":"B"},` + list[15:], 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, skipped, err := fileState{content: []byte(test.content)}.parse()
			if (err != nil) != (test.want < 0) || err == nil && (len(got) != test.want || len(skipped) != test.skipped) {
				t.Errorf("got %v, skipped %v, %v, want %d and %d", got, skipped, err, test.want, test.skipped)
			}
			for _, entry := range skipped {
				if !strings.HasPrefix(entry.Error(), "identities[") {
					t.Errorf("got %v, want the position of the entry", entry)
				}
			}
		})
	}
}

func TestConfig_keepsLastValidList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	c := New(path, slog.New(slog.NewTextHandler(&log, nil)), registry)
	if !strings.Contains(log.String(), "is missing") {
		t.Errorf("got log %q, want that the file is missing", log.String())
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
		{"complete, no warning", write(list), true, false, false},
		{"half written", write(list[:20]), true, true, false},
		{"still half written, warning", remain, true, false, true},
		{"no second warning", remain, true, false, false},
		{"complete", write(list), true, false, false},
		{"truncated", write(""), true, true, false},
		{"written again", write(list), true, false, false},
		{"emptied", write(""), true, true, false},
		{"still empty, empty list", remain, false, false, false},
		{"written", write(list), true, false, false},
		{"removed", remove, true, true, false},
		{"still missing, empty list and warning", remain, false, false, true},
		{"unreadable", directory, false, true, false},
		{"still unreadable, warning", remain, false, false, true},
		{"removed", remove, false, true, false},
		{"written", write(list), true, false, false},
		{"unreadable after it was written", func() error { return errors.Join(remove(), directory()) }, true, true, false},
		{"still unreadable, warning and last list", remain, true, false, true},
		{"written", func() error { return errors.Join(remove(), write(list)()) }, true, false, false},
		{"invalid entry, others apply", write(`{"identities":[null,` + list[15:]), true, false, true},
		{"only an invalid entry", write(`{"identities":[{"namespace":"default"}]}`), false, false, true},
		{"written", write(list), true, false, false},
		{"too large", write(strings.Repeat(" ", maxFileBytes) + list), true, true, false},
		{"still too large, warning and last list", remain, true, false, true},
		{"without app", write(`{"identities":[{"namespace":"other","serviceAccount":"app"}]}`), false, false, false},
		{"no entries", write(`{"identities":[]}`), false, false, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		log.Reset()
		again := c.reload()
		if warned := strings.Contains(log.String(), "level=WARN"); again != step.again || c.Contains(app) != step.listed || warned != step.warned {
			t.Errorf("%s: got listed %t, again %t, warned %t", step.name, c.Contains(app), again, warned)
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
	delete(got, "")
	if want := map[string]float64{"error": 6, "success": 13}; !maps.Equal(got, want) {
		t.Errorf("got metrics %v, want %v", got, want)
	}
}

// TestNew_anyContent checks that no content causes a panic, and that the list does not depend on
// earlier content.
func TestNew_anyContent(t *testing.T) {
	// The number of identities of each content, or -1 if it cannot be decoded or read.
	contents := map[string]int{
		list: 2, "": 0, "{}": 0, `{"identities":[null,` + list[15:]: 2, `{"identities":[{"namespace":"default","serviceAccount":"app"},7]}`: 1,
		"{": -1, "null": -1, "[]": -1, `{"identities":1}`: -1, strings.Repeat(" ", maxFileBytes+1): -1,
	}
	keys := slices.Sorted(maps.Keys(contents))
	path := filepath.Join(t.TempDir(), "config.json")
	random := rand.New(rand.NewPCG(1, 2))
	c := New(path, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	want := 0
	for range 60 {
		var err error
		content := keys[random.IntN(len(keys))]
		count := contents[content]
		if random.IntN(6) == 0 {
			count = 0
			if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if count >= 0 {
			want = count
		}
		for c.reload() {
		}
		registry := prometheus.NewRegistry()
		restarted := New(path, slog.New(slog.DiscardHandler), registry)
		if got := len(*restarted.listed.Load()); got != max(count, 0) {
			t.Fatalf("%.100q: got %d identities in a new replica, want %d", content, got, max(count, 0))
		}
		if got := len(*c.listed.Load()); got != want {
			t.Fatalf("%.100q: got %d identities, want %d", content, got, want)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			_, err := os.Stat(path)
			if succeeded := family.GetMetric()[0].GetGauge().GetValue() == 1; strings.HasSuffix(family.GetName(), "last_load_successful") && succeeded != (count >= 0 && err == nil) {
				t.Fatalf("%.100q: got load successful %t", content, succeeded)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(list))
	f.Add([]byte(`{"identities":[{}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		listed, skipped, err := fileState{content: content}.parse()
		if err != nil && (listed != nil || skipped != nil) {
			t.Errorf("got list %v, skipped %v and error %v", listed, skipped, err)
		}
		for name := range listed {
			if name.Namespace == "" || name.Name == "" {
				t.Errorf("got %q in the list", name)
			}
		}
	})
}
