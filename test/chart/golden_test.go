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

// namespace is the namespace in the golden files.
const namespace = "pod-identity-webhook"

// rendered caches the rendered chart per values file, because helm takes a while.
// Tests do not run in parallel.
var rendered = map[string][]byte{}

// forEachValues runs a test for each values file in testdata, with the rendered chart.
func forEachValues(t *testing.T, test func(t *testing.T, values string, manifests []byte)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no values files: %v", err)
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

// TestValuesFiles_comment requires a comment at the start of each values file.
func TestValuesFiles_comment(t *testing.T) {
	sentence := regexp.MustCompile(`\A(# .+\n)*# .+\.\n`)
	forEachValues(t, func(t *testing.T, values string, _ []byte) {
		content, err := os.ReadFile(values)
		if err != nil {
			t.Fatal(err)
		}
		if !sentence.Match(content) {
			t.Errorf("%s does not start with a comment that ends in a period", values)
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
	t.Errorf("%s differs from the rendered chart; run the test with -update to write it:\n%s", path, difference)
}
