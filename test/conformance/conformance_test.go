package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

func readFile(t *testing.T, elements ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(repopath.Path(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func supported(t *testing.T) releases {
	t.Helper()
	found, err := readReleases(repopath.Path("test", "assets"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCompatibilityTable checks that the table contains no tested release other than those
// that the modules build. The releases that continuous integration tests must be in it.
func TestCompatibilityTable(t *testing.T) {
	page, err := cutTable(readFile(t, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	built := supported(t)
	if got := strings.Join(page.minors, ", "); got != built.String() {
		t.Errorf("got minor versions %s in the table, want those of the modules in test/assets: %s", got, built)
	}
	for _, r := range page.tested {
		if !slices.Contains(built, r) {
			t.Errorf("the table has tested release %s, which no module in test/assets builds; run make conformance VERSIONS=%s", r, r.minorVersion())
		}
	}
	for _, r := range []release{built[0], built[len(built)-1]} {
		if !slices.Contains(page.tested, r) {
			t.Errorf("the table does not have tested release %s; run make conformance VERSIONS=%s", r, r.minorVersion())
		}
	}
}

// TestPromise checks that all files with the oldest supported version have the tested one,
// and that no minor version after it is missing.
func TestPromise(t *testing.T) {
	tested := supported(t)
	for i, r := range tested {
		if want := tested[0].minor + i; r.minor != want {
			t.Fatalf("got tested minor versions %s, want also 1.%d", tested, want)
		}
	}
	oldest, newest := tested[0].minorVersion(), tested[len(tested)-1].minorVersion()
	for _, promise := range []struct {
		path    []string
		pattern string
		want    []string
	}{
		{[]string{"README.md"}, `Kubernetes (1\.\d+) or later`, []string{oldest}},
		{[]string{"docs", "install.md"}, `Kubernetes (1\.\d+) or later`, []string{oldest}},
		{[]string{"docs", "compatibility.md"}, `Kubernetes (1\.\d+) and every later minor version up to (1\.\d+)\.`, []string{oldest, newest}},
		{[]string{"deploy", "helm", "pod-identity-webhook", "Chart.yaml"}, `(?m)^kubeVersion: ">=(1\.\d+)\.0-0"$`, []string{oldest}},
		{[]string{".ci", "run"}, `make conformance VERSIONS=(1\.\d+)\n`, []string{oldest}},
		{[]string{"test", "chart", "chart.go"}, `kubeVersion = "(1\.\d+)\.0"`, []string{oldest}},
	} {
		t.Run(strings.Join(promise.path, "/"), func(t *testing.T) {
			found := regexp.MustCompile(promise.pattern).FindSubmatch(readFile(t, promise.path...))
			if found == nil {
				t.Fatalf("no text matches %s", promise.pattern)
			}
			for i, want := range promise.want {
				if got := string(found[i+1]); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// TestModules checks that the parts of a module that belong to one release are consistent.
func TestModules(t *testing.T) {
	for _, r := range supported(t) {
		t.Run(r.String(), func(t *testing.T) {
			path := repopath.Path("test", "assets", r.minorVersion(), "go.mod")
			if _, err := os.Stat(path); os.IsNotExist(err) {
				path = repopath.Path("test", "assets", "go.mod")
			}
			m, err := readModule(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Replace) < 30 {
				t.Errorf("got %d replace directives, want one per staging module", len(m.Replace))
			}
			for _, replaced := range m.Replace {
				if replaced.New.Path != replaced.Old.Path || replaced.New.Version != r.staging() {
					t.Errorf("%s is replaced by %v, want %s", replaced.Old.Path, replaced.New, r.staging())
				}
			}
			if !slices.ContainsFunc(m.Tool, func(tool struct{ Path string }) bool { return tool.Path == kubernetesModule+"/cmd/"+apiServer }) {
				t.Errorf("got tools %v, want %s", m.Tool, apiServer)
			}
		})
	}
}

func TestParseRelease(t *testing.T) {
	r, err := parseRelease("v1.30.14")
	if err != nil || r != (release{30, 14}) || r.String() != "v1.30.14" || r.minorVersion() != "1.30" || r.staging() != "v0.30.14" {
		t.Errorf("got %v, %v", r, err)
	}
	for _, invalid := range []string{"", "1.30.14", "v1.30", "v2.30.14", "v1.30.14-rc.0", "v1.30.014"} {
		if r, err := parseRelease(invalid); err == nil {
			t.Errorf("%q: got %v, want an error", invalid, r)
		}
	}
}

func TestModuleOf(t *testing.T) {
	type replaced = struct {
		Old, New struct{ Path, Version string }
	}
	theirs := module{Go: "1.22.0"}
	for _, paths := range [][2]string{{"k8s.io/api", "./staging/src/k8s.io/api"}, {"example.com/fork", "example.com/other"}} {
		var r replaced
		r.Old.Path, r.New.Path = paths[0], paths[1]
		theirs.Replace = append(theirs.Replace, r)
	}
	path := filepath.Join(t.TempDir(), "go.mod")
	if err := os.WriteFile(path, moduleOf(release{30, 14}, theirs, []string{apiServer, "kubelet"}), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := readModule(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.requires(kubernetesModule); got != "v1.30.14" {
		t.Errorf("got required Kubernetes %q", got)
	}
	if len(m.Replace) != 1 || m.Replace[0].Old.Path != "k8s.io/api" || m.Replace[0].New.Version != "v0.30.14" {
		t.Errorf("got replace directives %v, want only k8s.io/api", m.Replace)
	}
	if len(m.Tool) != 2 || m.Tool[0].Path != "k8s.io/kubernetes/cmd/kube-apiserver" || m.Tool[1].Path != "k8s.io/kubernetes/cmd/kubelet" {
		t.Errorf("got tools %v, want the API server and the kubelet", m.Tool)
	}
	if got := m.goDebugDefault(); got != "go1.22" {
		t.Errorf("got godebug default %s, want the version of the go directive", got)
	}
	theirs.GoDebug = append(theirs.GoDebug, struct{ Key, Value string }{"default", "go1.24"})
	if got := theirs.goDebugDefault(); got != "go1.24" {
		t.Errorf("got godebug default %s, want the one in the godebug directive", got)
	}
}

func TestRecord(t *testing.T) {
	const begin, end = "# Page\n\n" + tableBegin + tableHead, tableEnd + "\nmore\n"
	supported := releases{{30, 14}, {31, 2}, {32, 1}}
	for name, test := range map[string]struct {
		rows, want string
		tested     []release
	}{
		"an empty table": {
			"", "| 1.30 | not tested yet |\n| 1.31 | v1.31.2 |\n| 1.32 | not tested yet |\n",
			[]release{{31, 2}},
		},
		"another one is tested": {
			"| 1.30 | v1.30.14 |\n| 1.31 | not tested yet |\n", "| 1.30 | v1.30.14 |\n| 1.31 | v1.31.2 |\n| 1.32 | not tested yet |\n",
			[]release{{31, 2}},
		},
		"one is tested again": {
			"| 1.30 | v1.30.14 |\n", "| 1.30 | v1.30.14 |\n| 1.31 | not tested yet |\n| 1.32 | not tested yet |\n",
			[]release{{30, 14}},
		},
		"another patch release is built": {
			"| 1.30 | v1.30.13 |\n| 1.32 | v1.32.1 |\n", "| 1.30 | not tested yet |\n| 1.31 | not tested yet |\n| 1.32 | v1.32.1 |\n",
			nil,
		},
		"a minor version is no longer supported": {
			"| 1.29 | v1.29.1 |\n| 1.30 | v1.30.14 |\n", "| 1.30 | v1.30.14 |\n| 1.31 | not tested yet |\n| 1.32 | not tested yet |\n",
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page.md")
			if err := os.WriteFile(path, []byte(begin+test.rows+end), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := record(path, supported, test.tested...); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if want := begin + test.want + end; err != nil || string(got) != want {
				t.Errorf("got\n%s\nwant\n%s\nerror %v", got, want, err)
			}
		})
	}
}

func TestRecord_pageWithoutTable(t *testing.T) {
	for name, page := range map[string]string{
		"no table":      "# Page\n",
		"no end":        tableBegin + tableHead,
		"another head":  tableBegin + "| a |\n|---|\n" + tableEnd,
		"no release":    tableBegin + tableHead + "| 1.30 | soon |\n" + tableEnd,
		"another minor": tableBegin + tableHead + "| 1.30 | v1.31.2 |\n" + tableEnd,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page.md")
			if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := record(path, releases{{30, 14}}, release{30, 14}); err == nil {
				t.Error("got no error")
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != page {
				t.Errorf("got page %q, error %v", got, err)
			}
		})
	}
}

func TestReadResults(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"from TestMain\n"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"not of interest\n"}
{"Action":"output","Package":"p","Test":"TestGood/a","Output":"not of interest\n"}
{"Action":"pass","Package":"p","Test":"TestGood/a"}
{"Action":"pass","Package":"p","Test":"TestGood","Elapsed":1.5}
{"Action":"output","Package":"p","Test":"TestBad/b","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"TestBad/b"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestSkipped/c","Output":"why not\n"}
{"Action":"skip","Package":"p","Test":"TestSkipped/c"}
{"Action":"pass","Package":"p","Test":"TestSkipped"}
{"Action":"output","Package":"p","Test":"TestPanics","Output":"panic: there\n"}
{"Action":"fail","Package":"p"}
not JSON
`
	var out bytes.Buffer
	got, err := readResults(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	want := testResults{"p TestGood": "pass", "p TestBad": "fail", "p TestSkipped/c": "skip", "p TestSkipped": "pass"}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for test, outcome := range want {
		if got[test] != outcome {
			t.Errorf("%s: got %q, want %q", test, got[test], outcome)
		}
	}
	if got.passed() != 2 {
		t.Errorf("got %d passed tests, want 2", got.passed())
	}
	if strings.Contains(out.String(), "not of interest") {
		t.Errorf("got output of a passed test:\n%s", &out)
	}
	for _, line := range []string{"from TestMain\n", "pass TestGood (1.5s)\n", "why\n", "why not\n", "panic: there\n", "not JSON\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("got no line %q in:\n%s", line, &out)
		}
	}
}

func TestResultsCheck(t *testing.T) {
	whole := func() testResults {
		return testResults{
			"p TestGolden_pods": "pass", "p TestGuard": "pass", "p TestKustomize_apply": "pass",
			"p TestChart": "pass", "p TestCertificates": "pass", "p TestPodCreatedRightAfterServiceAccount": "pass",
		}
	}
	if err := whole().check(); err != nil {
		t.Errorf("all passed: got %v", err)
	}
	for test := range whole() {
		missing := whole()
		delete(missing, test)
		if err := missing.check(); err == nil || !strings.Contains(err.Error(), "no test of the area") {
			t.Errorf("without %s: got %v, want an error with the area", test, err)
		}
	}
	skipped := whole()
	skipped["p TestTheGuard/b"] = "skip"
	if err := skipped.check(); err == nil || !strings.Contains(err.Error(), "p TestTheGuard/b: skip") {
		t.Errorf("one was skipped: got %v", err)
	}
}

func TestChoosesTests(t *testing.T) {
	for flags, want := range map[string]bool{
		"": false, "-race -timeout=60m": false, "-run=Guard": true, "--run Guard": true, "-skip=x": true, "-short": true, "-failfast": true,
	} {
		if got := choosesTests(strings.Fields(flags)); got != want {
			t.Errorf("%q: got %t, want %t", flags, got, want)
		}
	}
}

func TestRun_reportsInvalidUse(t *testing.T) {
	for _, args := range []string{"", "test", "build 1.30", "module", "test 1.29", "module 1.30", "module v1.30.14"} {
		if err := run(t.Context(), strings.Fields(args)); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	dir := t.TempDir()
	if err := checkVersion(t.Context(), dir, release{30, 14}); err == nil {
		t.Error("no API server: got no error")
	}
	script := "#!/bin/sh\necho Kubernetes v1.30.14\n"
	if err := os.WriteFile(filepath.Join(dir, "kube-apiserver"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkVersion(t.Context(), dir, release{30, 14}); err != nil {
		t.Error(err)
	}
	if err := checkVersion(t.Context(), dir, release{30, 1}); err == nil || !strings.Contains(err.Error(), "Kubernetes v1.30.14") {
		t.Errorf("another release: got %v, want an error with the release", err)
	}
}
