package testcases_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

const (
	pod = `apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  serviceAccountName: app
  containers: [{name: app, image: registry.k8s.io/pause:3.10, env: []}]
`
	serviceAccount = `apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
automountServiceAccountToken: false
`
)

func TestLoad(t *testing.T) {
	dir := write(t, map[string]string{
		"case/pod.yaml":            pod,
		"case/serviceaccount.yaml": serviceAccount,
		"case/settings.yaml":       "region: eu-west-1\n",
		"case/pod.golden.yaml":     strings.ReplaceAll(pod, "name: app,", "name: golden,"),
		"fuzz/FuzzPod/seed":        "go test fuzz v1\n",
	})
	cases, err := testcases.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 1 {
		t.Fatalf("got %d cases, want 1", len(cases))
	}
	got := cases[0]
	want := testcases.Defaults()
	want.Region = "eu-west-1"
	if got.Settings != want {
		t.Errorf("got settings %+v, want %+v", got.Settings, want)
	}
	if got.Name != "case" || got.Dir != filepath.Join(dir, "case") || got.ServiceAccount.Name != "app" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(string(got.PodJSON), `"env":[]`) {
		t.Errorf("got no empty list in %s", got.PodJSON)
	}
	if got.GoldenPod == nil || got.GoldenPod.Spec.Containers[0].Name != "golden" {
		t.Errorf("got golden pod %+v", got.GoldenPod)
	}
}

func TestLoad_withoutGoldenFiles(t *testing.T) {
	cases, err := testcases.Load(write(t, map[string]string{"case/pod.yaml": pod, "case/serviceaccount.yaml": serviceAccount}))
	if err != nil {
		t.Fatal(err)
	}
	if got := cases[0]; got.GoldenPod != nil || got.Settings != testcases.Defaults() {
		t.Errorf("got %+v", got)
	}
}

func TestLoad_invalid(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a file that is not part of a case", map[string]string{"case/pod.golden.yml": pod}, "pod.golden.yml"},
		{"a directory without a pod", map[string]string{"case/pod.yaml": ""}, "pod.yaml"},
		{"a case without a ServiceAccount", map[string]string{"case/serviceaccount.yaml": ""}, "serviceaccount.yaml"},
		{"an unknown field", map[string]string{"case/pod.yaml": pod + "statuss: {}\n"}, "statuss"},
		{"a field in the wrong case", map[string]string{"case/pod.yaml": pod + "Status: {}\n"}, "Status"},
		{"a repeated field", map[string]string{"case/pod.yaml": pod + "kind: Pod\n"}, "kind"},
		{"an unknown setting", map[string]string{"case/settings.yaml": "regions: eu-west-1\n"}, "regions"},
		{"an object of another kind", map[string]string{"case/pod.yaml": serviceAccount}, "ServiceAccount"},
		{"a namespace", map[string]string{"case/serviceaccount.yaml": strings.ReplaceAll(serviceAccount, "name: app", "name: app, namespace: default")}, "namespace"},
		{"a ServiceAccount of another name", map[string]string{"case/serviceaccount.yaml": strings.ReplaceAll(serviceAccount, "name: app", "name: other")}, "other"},
		{"a ServiceAccount that adds a volume", map[string]string{"case/serviceaccount.yaml": strings.ReplaceAll(serviceAccount, "false", "true")}, "automount"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"case/pod.yaml": pod, "case/serviceaccount.yaml": serviceAccount}
			for name, content := range test.files {
				files[name] = content
				if content == "" {
					delete(files, name)
				}
			}
			cases, err := testcases.Load(write(t, files))
			if err == nil {
				t.Fatalf("got %+v, want an error", cases)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "case case") {
				t.Errorf("got %v, want an error with the case and %s", err, test.want)
			}
		})
	}
}

func TestCaseIdentity(t *testing.T) {
	account := strings.Replace(serviceAccount, "name: app", `name: app, annotations: {eks.amazonaws.com/role-arn: team/app, eks.amazonaws.com/token-expiration: "3600"}`, 1)
	for _, test := range []struct {
		name, settings string
		want           identity.Identity
	}{
		{"web identity from ServiceAccount and settings", "accountID: \"111122223333\"\npartition: aws-cn\nsessionName: pod-name\nstsEndpoint: https://sts.example.com\n", identity.Identity{
			Method: identity.WebIdentity, RoleARN: "arn:aws-cn:iam::111122223333:role/team/app", Audience: "sts.amazonaws.com", ExpirationSeconds: 3600,
			SessionName: "pod-name", STSEndpoint: "https://sts.example.com",
		}},
		{"EKS Pod Identity for a listed ServiceAccount", "containerCredentials: true\nregionalSTS: true\nsessionName: pod-name\n", identity.Identity{
			Method: identity.ContainerCredentials, Audience: "pods.eks.amazonaws.com", RegionalSTS: true, ExpirationSeconds: 3600,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cases, err := testcases.Load(write(t, map[string]string{
				"case/pod.yaml": pod, "case/serviceaccount.yaml": account, "case/settings.yaml": test.settings,
			}))
			if err != nil {
				t.Fatal(err)
			}
			if got := cases[0].Identity(); !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got  %+v\nwant %+v", *got, test.want)
			}
		})
	}
}

func TestLoad_emptyDirectory(t *testing.T) {
	if cases, err := testcases.Load(t.TempDir()); err == nil {
		t.Errorf("got %+v, want an error", cases)
	}
}

// write creates a directory with the files. Their names may contain directories.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const ephemeral = `spec:
  ephemeralContainers: [{name: debugger, image: registry.k8s.io/pause:3.10}]
`

func TestLoadEphemeral(t *testing.T) {
	dir := write(t, map[string]string{
		"case/pod.yaml":                       pod,
		"case/serviceaccount.yaml":            serviceAccount,
		"ephemeral/debug/pod.yaml":            pod + "  ephemeralContainers: [{name: first, image: registry.k8s.io/pause:3.10}]\n",
		"ephemeral/debug/serviceaccount.yaml": serviceAccount,
		"ephemeral/debug/ephemeral.yaml":      ephemeral,
	})
	if cases, err := testcases.Load(dir); err != nil || len(cases) != 1 || cases[0].Name != "case" {
		t.Fatalf("got other cases %+v, error %v", cases, err)
	}
	cases, err := testcases.LoadEphemeral(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 1 || cases[0].Name != "debug" || len(cases[0].Added) != 1 || cases[0].Added[0].Name != "debugger" {
		t.Fatalf("got %+v", cases)
	}
	first, second := strings.Index(string(cases[0].ChangedJSON), "first"), strings.Index(string(cases[0].ChangedJSON), "debugger")
	if first < 0 || second < first || !strings.Contains(string(cases[0].ChangedJSON), `"env":[]`) {
		t.Errorf("got changed pod %s", cases[0].ChangedJSON)
	}
	if strings.Contains(string(cases[0].PodJSON), "debugger") {
		t.Errorf("got old pod %s", cases[0].PodJSON)
	}
}

func TestLoadEphemeral_invalid(t *testing.T) {
	for _, test := range []struct {
		name, file, content, want string
	}{
		{"a case without its containers", "", "", "ephemeral.yaml"},
		{"an empty list", "ephemeral.yaml", "spec: {ephemeralContainers: []}\n", "adds no container"},
		{"an unknown field", "ephemeral.yaml", ephemeral + "status: {}\n", "status"},
		{"a file that is not part of a case", "patch.yaml", ephemeral, "patch.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"ephemeral/case/pod.yaml": pod, "ephemeral/case/serviceaccount.yaml": serviceAccount}
			if test.file != "" {
				files["ephemeral/case/"+test.file] = test.content
			}
			cases, err := testcases.LoadEphemeral(write(t, files))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "case case") {
				t.Errorf("got %+v, error %v, want an error with the case and %s", cases, err, test.want)
			}
		})
	}
}
