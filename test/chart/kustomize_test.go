package chart_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// written is the first line of each file that is generated from the chart.
const written = "# Written by `make manifests` from the Helm chart.\n"

// namespaceManifest is the Namespace, which helm creates instead of the chart.
const namespaceManifest = written + `apiVersion: v1
kind: Namespace
metadata:
  name: ` + namespace + `
  labels:
    pod-security.kubernetes.io/enforce: restricted
`

// manifest is an object of the chart, with its comments.
type manifest struct {
	template string // the template file of the chart
	text     string
	object   *unstructured.Unstructured
}

// id identifies an object.
func (m manifest) id() string {
	return fmt.Sprintf("%s %s/%s", m.object.GroupVersionKind(), m.object.GetNamespace(), m.object.GetName())
}

// manifests renders the chart for users without helm.
func manifests(t *testing.T, values ...string) []manifest {
	t.Helper()
	rendered, err := chart.Render(t.Context(), namespace, values...)
	if err != nil {
		t.Fatal(err)
	}
	return split(t, rendered)
}

// split returns the objects in helm's output, without the labels that only helm needs.
func split(t *testing.T, rendered []byte) []manifest {
	t.Helper()
	helms := regexp.MustCompile(`(?m)^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n`)
	source := regexp.MustCompile(`(?m)^# Source: .*/templates/(.+)\n`)
	var found []manifest
	for _, document := range documents(t, rendered) {
		from := source.FindSubmatch(document)
		if from == nil {
			t.Fatalf("got no # Source comment in:\n%s", document)
		}
		text := source.ReplaceAll(helms.ReplaceAll(document, nil), nil)
		text = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(text), []byte("---")))
		m := manifest{template: string(from[1]), text: string(text) + "\n", object: &unstructured.Unstructured{}}
		if err := yaml.UnmarshalStrict(text, &m.object.Object); err != nil {
			t.Fatal(err)
		}
		found = append(found, m)
	}
	return found
}

// without returns the manifests whose text is not among others.
func without(of, others []manifest) []manifest {
	return slices.DeleteFunc(slices.Clone(of), func(m manifest) bool {
		return slices.ContainsFunc(others, func(other manifest) bool { return other.text == m.text })
	})
}

// TestKustomize_generated compares the kustomizations with the chart, or writes them
// with -update. The base has the objects that all modes share. The overlays have the
// objects of one mode. A component, for any overlay, has the changes for cert-manager.
func TestKustomize_generated(t *testing.T) {
	clusterWide, optIn := manifests(t), manifests(t, "mode=opt-in")
	certManager := manifests(t, "certificates.source=cert-manager")

	files := map[string]string{"base/namespace.yaml": namespaceManifest}
	common := without(clusterWide, without(clusterWide, optIn))
	inFiles(files, "base", common)
	inFiles(files, "overlays/cluster-wide", without(clusterWide, common))
	inFiles(files, "overlays/opt-in", without(optIn, common))
	addCertManager(t, files, clusterWide, certManager)

	addKustomization(files, "base", "Kustomization", "")
	addKustomization(files, "overlays/cluster-wide", "Kustomization", "resources:\n  - ../../base\n")
	addKustomization(files, "overlays/opt-in", "Kustomization", "resources:\n  - ../../base\n")
	addKustomization(files, "components/cert-manager", "Component", "")
	files["overlays/cert-manager/kustomization.yaml"] = written +
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" +
		"resources:\n  - ../cluster-wide\ncomponents:\n  - ../../components/cert-manager\n"

	files["image-only/flowcontrol.yaml"] = imageOnlyFlowControl(t)

	root := repopath.Path("deploy", "kustomize")
	for _, file := range slices.Sorted(maps.Keys(files)) {
		golden(t, filepath.Join(root, filepath.FromSlash(file)), []byte(files[file]))
	}
	for _, file := range filesIn(t, root) {
		if _, made := files[file]; made {
			continue
		}
		if *update {
			if err := os.Remove(filepath.Join(root, file)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("deploy/kustomize/%s is not generated from the chart", file)
	}
}

// imageOnlyFlowControl returns the flow control objects for users who replace only the
// image in the reference's manifests. These manifests use the ServiceAccount
// default/pod-identity-webhook.
func imageOnlyFlowControl(t *testing.T) string {
	t.Helper()
	rendered, err := chart.Template(t.Context(), "default", "--show-only=templates/flowcontrol.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, m := range split(t, rendered) {
		texts = append(texts, m.text)
	}
	return written + strings.Join(texts, "---\n")
}

func filesIn(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	tree := os.DirFS(root)
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range matches {
			file, err := filepath.Rel(root, match)
			if err != nil {
				t.Fatal(err)
			}
			file = filepath.ToSlash(file)
			opened, err := tree.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			info, err := opened.Stat()
			opened.Close()
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().IsRegular() {
				found = append(found, file)
			}
		}
	}
	return found
}

// inFiles adds objects to files in a directory, one file per template.
func inFiles(files map[string]string, directory string, objects []manifest) {
	for _, m := range objects {
		file := path.Join(directory, m.template)
		if files[file] == "" {
			files[file] = written + m.text
		} else {
			files[file] += "---\n" + m.text
		}
	}
}

// addCertManager adds the objects that exist only with cert-manager, and patches for
// the objects that differ.
func addCertManager(t *testing.T, files map[string]string, self, certManager []manifest) {
	t.Helper()
	ours := map[string]manifest{}
	for _, m := range self {
		ours[m.id()] = m
	}
	var patches []string
	for _, m := range certManager {
		mine, has := ours[m.id()]
		delete(ours, m.id())
		switch {
		case !has:
			inFiles(files, "components/cert-manager", []manifest{m})
		case m.text != mine.text:
			patches = append(patches, patch(t, mine.object, m.object))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ours)) {
		gone := ours[id].object
		patches = append(patches, identified(t, gone, map[string]any{"$patch": "delete"}))
	}
	files["components/cert-manager/patches.yaml"] = written + strings.Join(patches, "---\n")
}

// patch returns the strategic merge patch from one object to another.
func patch(t *testing.T, from, to *unstructured.Unstructured) string {
	t.Helper()
	typed, err := scheme.Scheme.New(from.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, toJSON := toJSON(t, from.Object), toJSON(t, to.Object)
	difference, err := strategicpatch.CreateTwoWayMergePatch(fromJSON, toJSON, typed)
	if err != nil {
		t.Fatal(err)
	}
	var changed map[string]any
	if err := json.Unmarshal(difference, &changed); err != nil {
		t.Fatal(err)
	}
	withoutOrder(changed)
	return identified(t, from, changed)
}

func toJSON(t *testing.T, object any) []byte {
	t.Helper()
	encoded, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// withoutOrder removes directives that kustomize does not support.
func withoutOrder(value any) {
	switch value := value.(type) {
	case map[string]any:
		maps.DeleteFunc(value, func(key string, _ any) bool { return strings.HasPrefix(key, "$setElementOrder/") })
		for _, field := range value {
			withoutOrder(field)
		}
	case []any:
		for _, element := range value {
			withoutOrder(element)
		}
	}
}

// identified adds the kind and name of its object to a patch.
func identified(t *testing.T, object *unstructured.Unstructured, patch map[string]any) string {
	t.Helper()
	patch["apiVersion"], patch["kind"] = object.GetAPIVersion(), object.GetKind()
	metadata, _ := patch["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["name"] = object.GetName()
	if object.GetNamespace() != "" {
		metadata["namespace"] = object.GetNamespace()
	}
	patch["metadata"] = metadata
	encoded, err := yaml.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// addKustomization adds the kustomization.yaml that lists the other files of a directory.
func addKustomization(files map[string]string, directory, kind, resources string) {
	version := "v1beta1"
	if kind == "Component" {
		version = "v1alpha1"
	}
	content := fmt.Sprintf("%sapiVersion: kustomize.config.k8s.io/%s\nkind: %s\n", written, version, kind)
	if resources == "" {
		resources = "resources:\n"
	}
	content += resources
	patched := ""
	for _, file := range slices.Sorted(maps.Keys(files)) {
		switch {
		case path.Dir(file) != directory:
		case path.Base(file) == "patches.yaml":
			patched = "patches:\n  - path: patches.yaml\n"
		default:
			content += "  - " + path.Base(file) + "\n"
		}
	}
	files[directory+"/kustomization.yaml"] = content + patched
}

// TestKustomize_matchesHelm builds the overlays with kubectl and compares them with
// helm's output.
func TestKustomize_matchesHelm(t *testing.T) {
	kustomizations := repopath.Path("deploy", "kustomize")
	own := t.TempDir()
	relative, err := filepath.Rel(own, kustomizations)
	if err != nil {
		t.Fatal(err)
	}
	// The kustomization from the docs for opt-in namespaces with cert-manager.
	if err := os.WriteFile(filepath.Join(own, "kustomization.yaml"), fmt.Appendf(nil,
		"resources:\n  - %[1]s/overlays/opt-in\ncomponents:\n  - %[1]s/components/cert-manager\n", relative), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, directory string
		values          []string
	}{
		{"cluster-wide", filepath.Join(kustomizations, "overlays", "cluster-wide"), nil},
		{"opt-in", filepath.Join(kustomizations, "overlays", "opt-in"), []string{"mode=opt-in"}},
		{"cert-manager", filepath.Join(kustomizations, "overlays", "cert-manager"), []string{"certificates.source=cert-manager"}},
		{"opt-in with cert-manager", own, []string{"mode=opt-in", "certificates.source=cert-manager"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := map[string]map[string]any{}
			for _, m := range manifests(t, test.values...) {
				want[m.id()] = m.object.Object
			}
			got := kustomize(t, test.directory)
			namespaced := 0
			maps.DeleteFunc(got, func(_ string, object map[string]any) bool {
				if object["kind"] == "Namespace" {
					namespaced++
					return true
				}
				return false
			})
			if namespaced != 1 {
				t.Errorf("got %d Namespaces, want 1", namespaced)
			}
			if difference := cmp.Diff(want, got); difference != "" {
				t.Errorf("the output of kustomize (+) differs from helm's (-):\n%s", difference)
			}
		})
	}
}

func kustomize(t *testing.T, directory string) map[string]map[string]any {
	t.Helper()
	kubectl := os.Getenv("KUBECTL")
	if kubectl == "" {
		kubectl = repopath.Path("bin", "assets", "kubectl")
	}
	command := exec.CommandContext(t.Context(), kubectl, "kustomize", directory)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, &stderr)
	}
	if stderr.Len() > 0 {
		t.Errorf("kubectl kustomize: got warning %s", &stderr)
	}
	made := map[string]map[string]any{}
	for _, document := range documents(t, stdout.Bytes()) {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			t.Fatal(err)
		}
		made[manifest{object: object}.id()] = object.Object
	}
	return made
}
