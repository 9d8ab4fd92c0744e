package chart_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

var update = flag.Bool("update", false, "write the golden files and the kustomize manifests instead of comparing with them")

// namespace is the one that the goldens are rendered for.
const namespace = "pod-identity-webhook"

// rendered has what the chart makes of each file of values. Tests run one after
// the other, and helm takes its time.
var rendered = map[string][]byte{}

// forEachValues runs a test for each file of values in testdata, with what the
// chart makes of it.
func forEachValues(t *testing.T, test func(t *testing.T, values string, manifests []byte)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no values: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".values.yaml"), func(t *testing.T) {
			manifests, known := rendered[file]
			if !known {
				var err error
				if manifests, err = chart.Template(t.Context(), namespace, "--values="+file); err != nil {
					t.Fatal(err)
				}
				rendered[file] = manifests
			}
			test(t, file, manifests)
		})
	}
}

func TestChart_golden(t *testing.T) {
	forEachValues(t, func(t *testing.T, values string, manifests []byte) {
		golden(t, strings.Replace(values, ".values.", ".golden.", 1), manifests)
	})
}

// TestValuesFiles_comment keeps them a thing to read.
func TestValuesFiles_comment(t *testing.T) {
	sentence := regexp.MustCompile(`\A(# .+\n)*# .+\.\n`)
	forEachValues(t, func(t *testing.T, values string, _ []byte) {
		content, err := os.ReadFile(values)
		if err != nil {
			t.Fatal(err)
		}
		if !sentence.Match(content) {
			t.Errorf("%s does not open with a sentence", values)
		}
	})
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run the test with -update", err)
	}
	if string(got) == string(want) {
		return
	}
	difference, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(want)), B: difflib.SplitLines(string(got)), FromFile: path, ToFile: "rendered", Context: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("%s is not what the chart makes; if it should be, run the test with -update:\n%s", path, difference)
}
