package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// plugin runs the kubectl plugin with a kubeconfig. It returns its standard output,
// standard error and exit code.
func plugin(t *testing.T, kubeconfig string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), pluginBinary(t), args...)
	command.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + t.TempDir()}
	var out, errOut bytes.Buffer
	command.Stdout, command.Stderr = &out, &errOut
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errOut.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), 0
}

// noCluster is an empty kubeconfig: commands with it cannot reach an API server.
const noCluster = "/dev/null"

// TestExplain_matchesWebhook creates each pod of the test cases with the real webhook. It
// compares the stored pod with the pod that explain prints, stored by the same API
// server while the webhook skips it.
func TestExplain_matchesWebhook(t *testing.T) {
	client := newClient(t)
	cases := loadTestCases(t, client)
	bySettings := map[testcases.Settings][]testcases.Case{}
	for _, c := range cases {
		bySettings[c.Settings] = append(bySettings[c.Settings], c)
	}
	for settings, cases := range bySettings {
		t.Run(fmt.Sprintf("%+v", settings), func(t *testing.T) {
			namespaces := map[string]string{}
			for _, c := range cases {
				namespaces[c.Name] = newNamespace(t, client)
			}
			args := flags(settings)
			if settings.ContainerCredentials {
				args = append(args, "--watch-container-credentials-config="+listOf(t, namespaces))
			}
			registeredAs(t, client, webhookprocess.RegisterOptions{AnnotationPrefix: settings.AnnotationPrefix}, args...)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) { checkExplained(t, client, namespaces[c.Name], c, args) })
			}
		})
	}
}

func checkExplained(t *testing.T, client kubernetes.Interface, namespace string, c testcases.Case, args []string) {
	if c.ServiceAccount.Name != "default" {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &c.ServiceAccount, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	podFile, accountFile := filepath.Join(c.Dir, testcases.PodFile), filepath.Join(c.Dir, testcases.ServiceAccountFile)
	shown := map[string]*corev1.Pod{}
	for from, run := range map[string]struct {
		kubeconfig string
		args       []string
	}{
		"files":   {noCluster, []string{podFile, "-f", accountFile}},
		"cluster": {cluster.Kubeconfig(), []string{podFile, "--from-cluster"}},
	} {
		stdout, stderr, code := plugin(t, run.kubeconfig, append(append([]string{"explain", "-o", "json", "-n", namespace}, run.args...), args...)...)
		if code != 0 {
			t.Fatalf("from %s: exit code %d: %s", from, code, stderr)
		}
		shown[from] = storedAs(t, client, namespace, stdout)
		unspreadIf(t, c, shown[from])
	}
	made, err := client.CoreV1().Pods(namespace).Create(t.Context(), &c.Pod, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	unspreadIf(t, c, made)
	for from, pod := range shown {
		if diff := cmp.Diff(normalizePod(made), normalizePod(pod)); diff != "" {
			t.Errorf("from %s: the explained pod differs from the created pod (-created +explained):\n%s", from, diff)
		}
	}
}

func unspreadIf(t *testing.T, c testcases.Case, pod *corev1.Pod) {
	t.Helper()
	if c.Settings.ContainerCredentials {
		normalizeExpiration(t, pod, c.Pod.Spec.Volumes)
	}
}

// storedAs returns the pod that the API server would store if the webhook skipped it.
// It creates it as a dry run.
func storedAs(t *testing.T, client kubernetes.Interface, namespace, document string) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&pod); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[skipLabel] = ""
	stored, err := client.CoreV1().Pods(namespace).Create(t.Context(), &pod, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestExplain_fromCluster(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	for _, account := range []*corev1.ServiceAccount{serviceAccount("app", appRole), serviceAccount("mapped", "")} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mapping := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "pod-identity-webhook"},
		Data:       map[string]string{"config": `{"` + namespace + `/mapped": {"RoleARN": "arn:aws:iam::111122223333:role/mapped"}}`},
	}
	webhookNamespace := newNamespace(t, client)
	if _, err := client.CoreV1().ConfigMaps(webhookNamespace).Create(t.Context(), mapping, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fromCluster := []string{"--from-cluster", "--watch-config-map", "--webhook-namespace", webhookNamespace}
	for name, test := range map[string]struct {
		account      string
		args         []string
		code         int
		doctorOutput string
	}{
		"role in the annotation":                   {"app", fromCluster, 0, appRole},
		"role in the ConfigMap":                    {"mapped", fromCluster, 0, "arn:aws:iam::111122223333:role/mapped"},
		"role in a ConfigMap that is not read":     {"mapped", fromCluster[:1], 0, "no_role: its ServiceAccount has no role"},
		"ServiceAccount does not exist":            {"absent", fromCluster, 0, "service_account_not_found: its ServiceAccount does not exist"},
		"ServiceAccount not read from the cluster": {"app", nil, 3, "ServiceAccount " + namespace + "/app is in none of the files"},
		"role not permitted in the namespace": {
			"app", append([]string{"--role-policy=require"}, fromCluster...), 2, "the webhook would deny Pod " + namespace + "/pod: role \"" + appRole + "\" is not permitted in namespace " + namespace,
		},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := json.Marshal(podManifest(test.account))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "pod.json")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := plugin(t, cluster.Kubeconfig(), append([]string{"explain", file, "-n", namespace}, test.args...)...)
			if code != test.code || !strings.Contains(stdout, test.doctorOutput) {
				t.Errorf("got exit code %d\n%s%s", code, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, secret) {
				t.Error("the output contains the value of a variable")
			}
		})
	}
}

func podManifest(account string) *corev1.Pod {
	pod := podOf("pod", account)
	pod.APIVersion, pod.Kind = "v1", "Pod"
	return pod
}
