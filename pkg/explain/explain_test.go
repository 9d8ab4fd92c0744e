package explain_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/explain"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
)

const (
	pod     = "\n---\n{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {serviceAccountName: cart, containers: [{name: app, env: [{name: A, value: hunter2}]}]}}"
	account = "\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: cart, annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::111122223333:role/cart'}}}"
	without = "\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: cart}}"
	mapping = "\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: pod-identity-webhook}, data: {config: '{\"shop/cart\": {\"RoleARN\": \"arn:aws:iam::111122223333:role/mapped\"}}'}}"
	permits = "\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {eks.amazonaws.com/permitted-roles: till}}}"
)

func parseSettings(t *testing.T, args ...string) settings.Settings {
	t.Helper()
	var parsed settings.Settings
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	parsed.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// manifests reads content in the namespace shop.
func manifests(t *testing.T, content string) *explain.Manifests {
	t.Helper()
	read := new(explain.Manifests)
	if err := read.Read(strings.NewReader(content), "shop"); err != nil {
		t.Fatal(err)
	}
	return read
}

// explanation returns the explanation of the first pod of a config.
func explanation(t *testing.T, config explain.Config) explain.Explanation {
	t.Helper()
	explainer, err := explain.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := explainer.Explain(t.Context(), config.Manifests.Pods[0])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestExplain(t *testing.T) {
	listed := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(listed, []byte(`{"identities": [{"namespace": "shop", "serviceAccount": "cart"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	inCluster := []runtime.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/cluster"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{"eks.amazonaws.com/permitted-roles": "other"}}},
	}
	mapped := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "eks", Name: "pod-identity-webhook"}, Data: map[string]string{
		"config": `{"shop/cart": {"RoleARN": "arn:aws:iam::111122223333:role/cluster-mapped"}}`,
	}}
	tests := []struct {
		name, files string
		cluster     []runtime.Object
		mapping     string
		args        []string
		// role is the name of the role. If it is empty, reason is the expected reason.
		role            string
		reason          inject.Reason
		denied, missing string
	}{
		{name: "the ServiceAccount of a file", files: account, role: "cart"},
		{name: "a ServiceAccount without a role", files: without, reason: inject.NoRole},
		{name: "a ServiceAccount of another namespace", files: strings.Replace(account, "name: cart", "name: cart, namespace: store", 1), missing: "ServiceAccount shop/cart"},
		{name: "no ServiceAccount", missing: "ServiceAccount shop/cart"},
		{name: "the ServiceAccount of the cluster", cluster: inCluster, role: "cluster"},
		{name: "a file takes precedence over the cluster", files: account, cluster: inCluster, role: "cart"},
		{name: "a ServiceAccount in neither files nor cluster", cluster: []runtime.Object{mapped}, reason: inject.ServiceAccountNotFound},
		{name: "the ConfigMap of a file", files: without + mapping, role: "mapped"},
		{name: "the annotation takes precedence over the ConfigMap", files: account + mapping, role: "cart"},
		{name: "the ConfigMap of the cluster", files: without, cluster: []runtime.Object{mapped}, mapping: "eks", role: "cluster-mapped"},
		{name: "the ConfigMap of a file takes precedence over the cluster", files: without + mapping, cluster: []runtime.Object{mapped}, mapping: "eks", role: "mapped"},
		{name: "the ConfigMap of the cluster is not read", files: without, cluster: []runtime.Object{mapped}, reason: inject.NoRole},
		{name: "no ConfigMap in the cluster", files: without, cluster: []runtime.Object{}, mapping: "eks", reason: inject.NoRole},
		{name: "the list for EKS Pod Identity", files: account, args: []string{"--watch-container-credentials-config=" + listed}, reason: inject.Injected},
		{name: "the policy of a namespace in a file", files: account + permits, args: []string{"--role-policy=on"}, denied: "not permitted in namespace shop"},
		{name: "the policy of a namespace in the cluster", files: account, cluster: inCluster, args: []string{"--role-policy=on"}, denied: "other"},
		{name: "a missing namespace", files: account, args: []string{"--role-policy=on"}, missing: "Namespace shop"},
		{name: "a policy does not matter without a role", files: without, args: []string{"--role-policy=require"}, reason: inject.NoRole},
		{name: "a role's name", files: strings.Replace(account, "arn:aws:iam::111122223333:role/cart", "cart", 1), args: []string{"--compose-role-arn", "--aws-account-id=111122223333"}, role: "cart"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := explain.Config{Settings: parseSettings(t, test.args...), Manifests: manifests(t, pod+test.files), MappingNamespace: test.mapping}
			if test.cluster != nil {
				config.Cluster = fake.NewClientset(test.cluster...).CoreV1()
			}
			got := explanation(t, config)
			if !errorContains(got.Denied, test.denied) || !errorContains(got.MissingInput, test.missing) {
				t.Errorf("got denied %v, missing input %v", got.Denied, got.MissingInput)
			}
			if hasPod := test.denied == "" && test.missing == ""; hasPod != (got.Patched != nil) {
				t.Errorf("got pod %s, want one: %t", got.Patched, hasPod)
			}
			if test.role != "" && (got.Result.Reason != inject.Injected || !strings.Contains(string(got.Patched), `"arn:aws:iam::111122223333:role/`+test.role+`"`)) {
				t.Errorf("got reason %s and pod %s, want role %s", got.Result.Reason, got.Patched, test.role)
			}
			if test.role == "" && got.Result.Reason != test.reason {
				t.Errorf("got reason %q, want %q", got.Result.Reason, test.reason)
			}
		})
	}
}

// errorContains reports whether the message of err contains text. For an empty text it
// reports whether err is nil.
func errorContains(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}

func TestExplain_readError(t *testing.T) {
	t.Run("a ServiceAccount", func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("get", "serviceaccounts", func(kubetesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("forbidden")
		})
		config := explain.Config{Settings: parseSettings(t), Manifests: manifests(t, pod), Cluster: client.CoreV1()}
		explainer, err := explain.New(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := explainer.Explain(t.Context(), config.Manifests.Pods[0]); !errorContains(err, "get ServiceAccount shop/cart: forbidden") {
			t.Errorf("got %v", err)
		}
	})
	for name, config := range map[string]explain.Config{
		"a ConfigMap without a valid mapping": {Settings: parseSettings(t), Manifests: manifests(t, strings.Replace(mapping, "RoleARN", "", 1)+pod+
			"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: pod-identity-webhook}, data: {config: nonsense}}")},
		"a ConfigMap with an empty mapping": {Settings: parseSettings(t), Manifests: manifests(t, pod+
			"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: pod-identity-webhook}, data: {config: ''}}")},
		"a missing list":  {Settings: parseSettings(t, "--watch-container-credentials-config=missing.json"), Manifests: manifests(t, pod)},
		"an invalid list": {Settings: parseSettings(t, "--watch-container-credentials-config=explain_test.go"), Manifests: manifests(t, pod)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := explain.New(t.Context(), config); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func TestNew_invalidEntries(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(list, []byte(`{"identities": [null, {"namespace": "shop", "serviceAccount": "other"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	config := explain.Config{
		Settings:  parseSettings(t, "--watch-container-credentials-config="+list),
		Manifests: manifests(t, pod+without+strings.Replace(mapping, `{"shop/cart"`, `{"no-slash": {}, "shop/cart"`, 1)),
	}
	explainer, err := explain.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`ConfigMap pod-identity-webhook: skipped 1 invalid entries: "no-slash" is not of the form namespace/serviceaccount`,
		list + ": skipped 1 invalid entries: identities[0] is null",
	}
	if !slices.Equal(explainer.Skipped, want) {
		t.Errorf("got  %q\nwant %q", explainer.Skipped, want)
	}
	got, err := explainer.Explain(t.Context(), config.Manifests.Pods[0])
	if err != nil || got.Identity == nil || got.Identity.RoleARN != "arn:aws:iam::111122223333:role/mapped" {
		t.Errorf("got %+v, %v, want the role of the valid entry", got.Identity, err)
	}
}

func TestManifests(t *testing.T) {
	const template = `{metadata: {labels: {app: x}}, spec: {containers: [{name: app}]}}`
	tests := []struct {
		name, content string
		// from are the sources of the pods; document is a part of the last pod.
		from     []string
		document string
	}{
		{"a pod", pod, []string{"Pod shop/pod"}, `"name":"pod"`},
		{"a pod with a namespace", strings.Replace(pod, "name: pod", "name: pod, namespace: other", 1), []string{"Pod other/pod"}, `"namespace":"other"`},
		{"a pod with a generated name", strings.Replace(pod, "name: pod", "generateName: pod-", 1), []string{"Pod shop/pod-"}, `"generateName":"pod-"`},
		{"a Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, namespace: store}, spec: {template: " + template + "}}", []string{"Deployment store/x"}, `"metadata":{"generateName":"x-","labels":{"app":"x"},"namespace":"store"}`},
		{"a StatefulSet", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x}, spec: {template: " + template + "}}", []string{"StatefulSet shop/x"}, `"name":"x-0"`},
		{"a CronJob", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {jobTemplate: {spec: {template: " + template + "}}}}", []string{"CronJob shop/x"}, `"generateName":"x-"`},
		{"a Job without labels", "{apiVersion: batch/v1, kind: Job, metadata: {generateName: x-}, spec: {template: {spec: {containers: []}}}}", []string{"Job shop/x-"}, `"generateName":"x--"`},
		{"a custom resource with a pod template", "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}, spec: {template: " + template + "}}", []string{"Rollout shop/x"}, `"kind":"Pod"`},
		{"a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: a}}, {apiVersion: v1, kind: Pod, metadata: {name: b}}]}", []string{"Pod shop/a", "Pod shop/b"}, `"name":"b"`},
		{"irrelevant objects", "{apiVersion: v1, kind: Service, metadata: {name: x}}" + account, nil, ""},
		{"a Pod of another API group", "{apiVersion: x/v1, kind: Pod, metadata: {name: x}}", nil, ""},
		{"empty documents", "---\n---\n# a comment\n---\n" + pod, []string{"Pod shop/pod"}, ""},
		{"JSON", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"priority": 12345678901234567}}`, []string{"Pod shop/x"}, `12345678901234567`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			read := manifests(t, test.content)
			var from []string
			document := ""
			for _, pod := range read.Pods {
				from = append(from, pod.From)
				document = string(pod.Document)
			}
			if strings.Join(from, ",") != strings.Join(test.from, ",") {
				t.Errorf("got %q, want %q", from, test.from)
			}
			if !strings.Contains(document, test.document) {
				t.Errorf("got %s, want a part %s", document, test.document)
			}
		})
	}
}

func TestManifests_errorsDoNotQuoteValues(t *testing.T) {
	for name, content := range map[string]string{
		"a duplicate key":           pod + "\n---\nspec: {a: hunter2, a: hunter2}",
		"invalid YAML":              pod + "\n---\na: [hunter2",
		"an undefined alias":        pod + "\n---\na: *hunter2",
		"text":                      pod + "\n---\nhunter2",
		"a list of text":            "{apiVersion: v1, kind: List, items: [hunter2]}",
		"a pod without a name":      "{apiVersion: v1, kind: Pod, spec: {x: hunter2}}",
		"a list with such a pod":    "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, spec: {x: hunter2}}]}",
		"a workload without a name": "{kind: Job, spec: {template: {spec: {containers: [{name: hunter2}]}}}}",
	} {
		t.Run(name, func(t *testing.T) {
			err := new(explain.Manifests).Read(strings.NewReader(content), "shop")
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "document ") {
				t.Errorf("got %v", err)
			}
		})
	}
	read := manifests(t, "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: hunter2}}")
	explainer, err := explain.New(t.Context(), explain.Config{Settings: parseSettings(t), Manifests: read})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := explainer.Explain(t.Context(), read.Pods[0]); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/spec/containers") {
		t.Errorf("got %v", err)
	}
}

func FuzzManifests(f *testing.F) {
	f.Add(pod + account + mapping + permits)
	f.Add("{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}}")
	f.Add(`{"kind": "List", "items": [{"kind": "List", "items": [[]]}]}`)
	var flags settings.Settings
	flags.AddFlags(pflag.NewFlagSet("fuzz", pflag.ContinueOnError))
	f.Fuzz(func(t *testing.T, content string) {
		read := new(explain.Manifests)
		if err := read.Read(strings.NewReader(content), "shop"); err != nil {
			return
		}
		explainer, err := explain.New(t.Context(), explain.Config{Settings: flags, Manifests: read})
		if err != nil {
			return // the mapping is invalid
		}
		for _, pod := range read.Pods {
			got, err := explainer.Explain(t.Context(), pod)
			if err == nil && (got.Patched == nil) != (got.MissingInput != nil) {
				t.Errorf("got %+v, want either a pod or a missing input", got)
			}
			if patched := got.Patched; err == nil && got.Result.Patch == nil && patched != nil && string(patched) != string(pod.Document) {
				t.Errorf("without a patch: got %s, want %s", patched, pod.Document)
			}
		}
	})
}
