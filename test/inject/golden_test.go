package inject_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// image is the image of all pods of the test cases. Nodes can have it without a registry.
const image = "registry.k8s.io/pause:3.10"

func TestGolden(t *testing.T) {
	for _, c := range loadTestCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			result, patched := decideCase(t, &c)
			goldens(t, c.Dir, result, patched)
		})
	}
}

func TestGolden_ephemeral(t *testing.T) {
	for _, c := range loadEphemeral(t) {
		t.Run(c.Name, func(t *testing.T) {
			result, patched := patchBytes(t, c.ChangedJSON, decideEphemeral(t, c.PodJSON, c.Identity(), c.Settings.Inject()))
			goldens(t, c.Dir, result, patched)
		})
	}
}

// goldens compares a decision with the files of a case.
func goldens(t *testing.T, dir string, result inject.Result, patched []byte) {
	t.Helper()
	golden(t, filepath.Join(dir, testcases.PatchFile), indent(t, result.Patch))
	golden(t, filepath.Join(dir, testcases.GoldenPodFile), toYAML(t, patched))
	golden(t, filepath.Join(dir, testcases.GoldenResultFile), report(t, result))
}

func TestTestCases_sameImage(t *testing.T) {
	images := func(of string, pod *corev1.Pod) {
		for _, container := range allContainers(pod) {
			if container.Image != image {
				t.Errorf("%s: container %s: got image %s, want %s", of, container.Name, container.Image, image)
			}
		}
	}
	for _, c := range loadTestCases(t) {
		images(c.Name, &c.Pod)
	}
	for _, c := range loadEphemeral(t) {
		images(c.Name, toPod(t, c.ChangedJSON))
	}
}

func allContainers(pod *corev1.Pod) []corev1.Container {
	return slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers, ephemeralContainers(pod))
}

// TestTestCases_comment requires a comment in each test case, because its name is too
// short to describe the expected behavior.
func TestTestCases_comment(t *testing.T) {
	sentence := regexp.MustCompile(`\A(# .+\n)+`)
	for _, pattern := range []string{"testdata/*/", "testdata/ephemeral/*/"} {
		paths, err := filepath.Glob(pattern + testcases.PodFile)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: got %d pods, error %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if comment := sentence.Find(content); !bytes.HasSuffix(comment, []byte(".\n")) {
				t.Errorf("%s: got comment %q, want one that ends in a period", path, comment)
			}
		}
	}
}

// golden compares got with the file at path, or writes it with -update. An absent file
// means that got must be empty.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := write(path, got); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update to write it:\n%s", path, difference(want, got))
	}
}

// write writes a file, or removes it if content is empty.
func write(path string, content []byte) error {
	if content == nil {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(path, content, 0o644)
}

func difference(want, got []byte) string {
	// It returns only errors of its writer, which is in memory here.
	text, _ := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(want)), FromFile: "golden",
		B: difflib.SplitLines(string(got)), ToFile: "now",
		Context: 3,
	})
	return text
}

func indent(t *testing.T, patch []byte) []byte {
	t.Helper()
	if patch == nil {
		return nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, patch, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	return indented.Bytes()
}

func toYAML(t *testing.T, document []byte) []byte {
	t.Helper()
	text, err := yaml.JSONToYAML(document)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// report returns a result as YAML, without the patch, which has its own golden file.
func report(t *testing.T, result inject.Result) []byte {
	t.Helper()
	type container struct {
		Name    string        `json:"name"`
		Reason  inject.Reason `json:"reason"`
		Env     string        `json:"env,omitempty"`
		Mounted bool          `json:"mounted"`
	}
	type warning struct {
		Reason  inject.Reason `json:"reason"`
		Message string        `json:"message"`
	}
	comment := struct {
		Reason            inject.Reason `json:"reason"`
		Volume            string        `json:"volume,omitempty"`
		ExpirationSeconds int64         `json:"expirationSeconds,omitempty"`
		Containers        []container   `json:"containers,omitempty"`
		Warnings          []warning     `json:"warnings,omitempty"`
	}{Reason: result.Reason, Volume: result.Volume, ExpirationSeconds: result.ExpirationSeconds}
	for _, c := range result.Containers {
		comment.Containers = append(comment.Containers, container{
			Name: c.Name, Reason: c.Reason, Env: strings.Join(c.Env, " "), Mounted: c.Mounted,
		})
	}
	for _, w := range result.Warnings {
		comment.Warnings = append(comment.Warnings, warning(w))
	}
	text, err := yaml.Marshal(comment)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
