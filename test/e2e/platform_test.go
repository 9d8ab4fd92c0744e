package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// platformObjects are objects of EKS, kOps and AWS's manifests with their real names.
// The webhook of EKS runs on the machine of the API server.
const platformObjects = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: pod-identity-webhook
  labels:
    app.kubernetes.io/name: pod-identity-webhook
    app.kubernetes.io/managed-by: eks
webhooks:
  - name: iam-for-pods.amazonaws.com
    admissionReviewVersions: [v1beta1]
    clientConfig:
      url: https://127.0.0.1:23443/mutate
      caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJtakNDQVVHZ0F3SUJBZ0lRCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K
    failurePolicy: Ignore
    matchPolicy: Equivalent
    reinvocationPolicy: IfNeeded
    sideEffects: None
    timeoutSeconds: 10
    objectSelector:
      matchExpressions:
        - key: eks.amazonaws.com/skip-pod-identity-webhook
          operator: DoesNotExist
    rules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
        scope: "*"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: pod-identity-webhook
webhooks: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: pod-identity-webhook
rules:
  - apiGroups: [""]
    resources: [serviceaccounts]
    verbs: [get, watch, list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: pod-identity-webhook
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: pod-identity-webhook
subjects:
  - kind: ServiceAccount
    name: pod-identity-webhook
    namespace: kube-system
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: pod-identity-webhook-guard
spec:
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
  validations:
    - expression: "true"
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata:
  name: pod-identity-webhook
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 1
    limitResponse:
      type: Reject
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata:
  name: pod-identity-webhook
spec:
  priorityLevelConfiguration:
    name: pod-identity-webhook
  matchingPrecedence: 9000
`

// eksConfiguration is the path of the object that EKS owns.
const eksConfiguration = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pod-identity-webhook"

// createPlatform creates the platform's objects. It returns a function that compares
// their current bytes, as stored by the API server, with the original ones.
func createPlatform(t *testing.T, client kubernetes.Interface) (unchanged func(t *testing.T, after string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(path, []byte(platformObjects), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Apply(t.Context(), cluster.Config(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manifest.Delete(context.WithoutCancel(t.Context()), cluster.Config(), objects); err != nil {
			t.Error(err)
		}
	})
	resources := map[string]string{
		"MutatingWebhookConfiguration":   "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
		"ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
		"ValidatingAdmissionPolicy":      "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
		"ClusterRole":                    "rbac.authorization.k8s.io/v1/clusterroles",
		"ClusterRoleBinding":             "rbac.authorization.k8s.io/v1/clusterrolebindings",
		"PriorityLevelConfiguration":     "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
		"FlowSchema":                     "flowcontrol.apiserver.k8s.io/v1/flowschemas",
	}
	read := func(t *testing.T) map[string][]byte {
		t.Helper()
		stored := map[string][]byte{}
		for _, object := range objects {
			path := "/apis/" + resources[object.GetKind()] + "/" + object.GetName()
			raw, err := client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			stored[path] = raw
		}
		return stored
	}
	var before map[string][]byte
	// The API server itself writes the status of some objects once.
	eventually(t, "the platform's objects stop changing", func(context.Context) error {
		first := read(t)
		time.Sleep(time.Second)
		before = read(t)
		for path := range before {
			if !bytes.Equal(first[path], before[path]) {
				return fmt.Errorf("%s has changed", path)
			}
		}
		return nil
	})
	if !bytes.Contains(before[eksConfiguration], []byte(`"resourceVersion"`)) || !bytes.Contains(before[eksConfiguration], []byte(`"managedFields"`)) {
		t.Fatalf("%s has no field that changes with each write: %s", eksConfiguration, before[eksConfiguration])
	}
	return func(t *testing.T, after string) {
		t.Helper()
		for path, now := range read(t) {
			if !bytes.Equal(before[path], now) {
				t.Errorf("after %s: got %s\n%s\nwant\n%s", after, path, now, before[path])
			}
		}
	}
}

// runProgram runs a program against the control plane.
func runProgram(ctx context.Context, binary string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, binary, append(args, "--kubeconfig="+cluster.Kubeconfig())...)
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(binary), args[0], err, output)
	}
	return output, err
}

func runKubectl(ctx context.Context, args ...string) ([]byte, error) {
	return runProgram(ctx, filepath.Join(controlplane.DefaultAssets(), "kubectl"), args...)
}

func helm(t *testing.T, args ...string) {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		binary = repopath.Path("bin", "helm")
	}
	if _, err := runProgram(t.Context(), binary, args...); err != nil {
		t.Fatal(err)
	}
}

// TestHelm_withPlatform installs, upgrades and uninstalls the chart with the release name
// that a user would choose.
func TestHelm_withPlatform(t *testing.T) {
	client := newClient(t)
	defineCustomResources(t)
	unchanged := createPlatform(t, client)
	namespace := newNamespace(t, client)
	helm(t, "install", chart.Release, chart.Path(), "--namespace="+namespace)
	unchanged(t, "helm install")
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), chart.ClusterName, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	for _, values := range []string{
		"mode=opt-in,serviceAccountValidation=deny,rolePolicy=require",
		"certificates.source=cert-manager,prometheusRule.enabled=true",
		"certificates.source=secret,certificates.secretName=serving,guard.enabled=false",
		"fullnameOverride=pod-identity-webhook",
	} {
		helm(t, "upgrade", chart.Release, chart.Path(), "--namespace="+namespace, "--force-conflicts", "--set="+values)
		unchanged(t, "helm upgrade --set="+values)
	}
	helm(t, "rollback", chart.Release, "1", "--namespace="+namespace, "--force-conflicts")
	unchanged(t, "helm rollback")
	helm(t, "uninstall", chart.Release, "--namespace="+namespace)
	unchanged(t, "helm uninstall")
	wantAllRemoved(t, client)
}

// TestKustomize_withPlatform runs the commands of docs/install.md.
func TestKustomize_withPlatform(t *testing.T) {
	client := newClient(t)
	defineCustomResources(t)
	unchanged := createPlatform(t, client)
	docs, err := os.ReadFile(repopath.Path("docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	uninstall := []string{
		"kubectl delete validatingadmissionpolicybinding " + chart.ClusterName + "-guard",
		"kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration " + chart.ClusterName,
	}
	if !strings.Contains(string(docs), "\n    "+strings.Join(uninstall, "\n    ")+"\n") {
		t.Errorf("docs/install.md does not have the commands %q", uninstall)
	}
	for _, overlay := range []string{"cluster-wide", "opt-in", "cert-manager"} {
		directory := repopath.Path("deploy", "kustomize", "overlays", overlay)
		// The API server serves a new kind shortly after its definition is created.
		eventually(t, "the kustomization is applied", func(ctx context.Context) error {
			_, err := runKubectl(ctx, "apply", "-k", directory)
			return err
		})
		unchanged(t, "kubectl apply -k "+overlay)
		if _, err := runKubectl(t.Context(), "apply", "--server-side", "--force-conflicts", "-k", directory); err != nil {
			t.Error(err)
		}
		unchanged(t, "kubectl apply --server-side -k "+overlay)
		for _, command := range uninstall {
			if _, err := runKubectl(t.Context(), strings.Fields(command)[1:]...); err != nil {
				t.Error(err)
			}
			unchanged(t, command)
		}
		deleteAll(t, func(ctx context.Context, args ...string) ([]byte, error) {
			if args[0] == "delete" {
				args = append(args, "--ignore-not-found")
			}
			return runKubectl(ctx, args...)
		}, directory)
		unchanged(t, "kubectl delete -k "+overlay)
		wantAllRemoved(t, client)
	}
}

// wantAllRemoved checks that an uninstallation removed all objects.
func wantAllRemoved(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	for _, path := range []string{
		"admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
		"admissionregistration.k8s.io/v1/validatingadmissionpolicies", "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
		"rbac.authorization.k8s.io/v1/clusterroles", "rbac.authorization.k8s.io/v1/clusterrolebindings",
		"flowcontrol.apiserver.k8s.io/v1/flowschemas", "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
	} {
		raw, err := client.Discovery().RESTClient().Get().AbsPath("/apis/" + path).DoRaw(t.Context())
		if err != nil {
			t.Error(err)
		}
		// Tests that run webhooks as processes leave their permissions in the control plane.
		if others := []byte(`"irsa-local-webhook-`); bytes.Contains(bytes.ReplaceAll(raw, others, nil), []byte(`"irsa-`)) {
			t.Errorf("%s: got an object after the uninstallation: %s", path, raw)
		}
	}
}

// TestReplicas_withPlatform runs replicas that publish their CA. One has the chart's name
// of the webhook configuration. Another has the default of --webhook-configuration, which
// is the name in EKS.
func TestReplicas_withPlatform(t *testing.T) {
	client := newClient(t)
	unchanged := createPlatform(t, client)
	install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail", "serviceAccountValidation=deny"}})
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	wantRole(t, client, namespace, "app", appRole)
	unchanged(t, "publishing the CA")

	authority := startAuthorityOf(t, namespace, "pod-identity-webhook", time.Now)
	eventually(t, "the replica has a certificate", func(context.Context) error { return authority.Valid() })
	unchanged(t, "looking for the webhooks to publish in")
}

// TestPod_withEKS has the API server call EKS's webhook and the chart's for the same pods.
// A replica of this webhook acts as EKS's, because both return the same patches.
func TestPod_withEKS(t *testing.T) {
	client := newClient(t)
	if webhookprocess.ConfigurationName >= "z" || chart.ClusterName >= webhookprocess.ConfigurationName {
		t.Errorf("the API server calls %s before %s", webhookprocess.ConfigurationName, chart.ClusterName)
	}
	registeredAs(t, client, webhookprocess.RegisterOptions{FailurePolicy: admissionregistrationv1.Ignore}, "--aws-default-region=us-east-1")
	started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail", "awsRegion=eu-west-1"}})
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	wantRole(t, client, namespace, "app", appRole)
	check := func(when, region string) {
		t.Helper()
		pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		container := pod.Spec.Containers[0]
		seen := map[string]string{}
		for _, variable := range container.Env {
			if _, twice := seen[variable.Name]; twice {
				t.Errorf("%s: %s is set twice", when, variable.Name)
			}
			seen[variable.Name] = variable.Value
		}
		// The other volume has the token for the API server.
		if len(pod.Spec.Volumes) != 2 || len(container.VolumeMounts) != 2 || roleOf(pod) != appRole || seen["AWS_REGION"] != region {
			t.Errorf("%s: got volumes %v, mounts %v and variables %v, want two volumes and mounts, the role, and region %s", when, pod.Spec.Volumes, container.VolumeMounts, seen, region)
		}
	}
	check("with both", "eu-west-1")
	for _, replica := range started.Replicas {
		replica.Kill()
	}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := configurations.Delete(t.Context(), chart.ClusterName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server does not call the chart's webhook", func(ctx context.Context) error {
		return dryRun(ctx, client, namespace, podOf("app", "app"))
	})
	check("only EKS's", "us-east-1")
}

// TestKubeSystem creates a pod of EBS's CSI driver. It gets its role, and it is created
// without the role if the webhook is down, with the guard or without.
func TestKubeSystem(t *testing.T) {
	client := newClient(t)
	const account = "ebs-csi-controller-sa"
	if err := controlplane.CreateNamespace(t.Context(), client, "kube-system"); err != nil {
		t.Fatal(err)
	}
	createServiceAccount(t, client, "kube-system", account)
	t.Cleanup(func() {
		unlabel := fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}}}`, optInLabel)
		if _, err := client.CoreV1().Namespaces().Patch(context.WithoutCancel(t.Context()), "kube-system", types.MergePatchType, unlabel, metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
		if err := client.CoreV1().ServiceAccounts("kube-system").Delete(context.WithoutCancel(t.Context()), account, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for _, mode := range []string{"cluster-wide", "opt-in"} {
		t.Run(mode, func(t *testing.T) {
			started := install(t, chartinstall.Options{Values: []string{"mode=" + mode, "failurePolicy=Fail"}})
			other := newNamespace(t, client)
			createServiceAccount(t, client, other, "app")
			if mode == "opt-in" {
				label(t, client, "kube-system", optInLabel, "enabled")
				label(t, client, other, optInLabel, "enabled")
			}
			wantRole(t, client, "kube-system", account, appRole)
			wantRole(t, client, other, "app", appRole)
			for _, replica := range started.Replicas {
				replica.Kill()
			}
			eventually(t, "another pod is rejected", func(ctx context.Context) error {
				if err := dryRun(ctx, client, other, podOf("app", "app")); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
					return fmt.Errorf("got %w, want a failed call of the webhook", err)
				}
				return nil
			})
			if err := dryRun(t.Context(), client, "kube-system", podOf("ebs-csi-controller", account)); err != nil {
				t.Errorf("without the webhook: %v", err)
			}
			// The guard is in effect in other namespaces, as failurePolicy Ignore shows.
			if err := started.Apply(t.Context(), "mode="+mode, "failurePolicy=Ignore"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the guard denies another pod", func(ctx context.Context) error {
				if err := dryRun(ctx, client, other, podOf("app", "app")); !deniedByGuard(err) {
					return fmt.Errorf("got %w, want a denial by the guard", err)
				}
				return nil
			})
			if err := dryRun(t.Context(), client, "kube-system", podOf("ebs-csi-controller", account)); err != nil {
				t.Errorf("with the guard: %v", err)
			}
		})
	}
}

// TestKubectlDebug_webhookDown adds an ephemeral container while all replicas are down.
func TestKubectlDebug_webhookDown(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail"}})
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	wantRole(t, client, namespace, "app", appRole)
	pods := client.CoreV1().Pods(namespace)
	if _, err := pods.Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	debug := func(ctx context.Context, name string) error {
		_, err := runKubectl(ctx, "debug", "pod/app", "--namespace="+namespace, "--image=registry.k8s.io/pause:3.10", "--container="+name,
			"--profile=general", "--attach=false", "--quiet")
		return err
	}
	ephemeral := func() []corev1.EphemeralContainer {
		t.Helper()
		pod, err := pods.Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return pod.Spec.EphemeralContainers
	}
	if err := debug(t.Context(), "with"); err != nil {
		t.Fatal(err)
	}
	if added := ephemeral(); len(added) != 1 || len(added[0].VolumeMounts) != 1 {
		t.Errorf("with the webhook: got %+v, want one ephemeral container with the token", added)
	}
	for _, replica := range started.Replicas {
		replica.Kill()
	}
	eventually(t, "a pod is rejected", func(ctx context.Context) error {
		if dryRun(ctx, client, namespace, podOf("other", "app")) == nil {
			return errors.New("the pod was created")
		}
		return nil
	})
	if err := debug(t.Context(), "without"); err != nil {
		t.Errorf("without the webhook: %v", err)
	}
	if added := ephemeral(); len(added) != 2 {
		t.Errorf("without the webhook: got %d ephemeral containers, want 2", len(added))
	}
}

// TestServiceAccountValidation_webhookDown writes ServiceAccounts while all replicas are
// down, with validation set to deny mistakes.
func TestServiceAccountValidation_webhookDown(t *testing.T) {
	client, received := newWarnedClient(t)
	started := install(t, chartinstall.Options{Values: []string{"serviceAccountValidation=deny"}})
	namespace := newNamespace(t, client)
	if err := controlplane.CreateNamespace(t.Context(), client, "kube-system"); err != nil {
		t.Fatal(err)
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	write := func(ctx context.Context, namespace string, annotations map[string]string) error {
		account := serviceAccount("new", "")
		account.Annotations = annotations
		_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	mistake := map[string]string{roleAnnotation: userARN}
	eventually(t, "a mistake is denied", func(ctx context.Context) error {
		if err := write(ctx, namespace, mistake); err == nil || !strings.Contains(err.Error(), "denied the request") {
			return fmt.Errorf("got %w, want a denial", err)
		}
		return nil
	})
	received.take()
	// A key that may be misspelled is not the webhook's, so it causes only a warning.
	if err := write(t.Context(), namespace, map[string]string{"eks.amazon.com/role-arn": appRole}); err != nil || !strings.Contains(received.take(), roleAnnotation) {
		t.Errorf("a misspelled key: got %v, or no warning", err)
	}
	if err := write(t.Context(), "kube-system", mistake); err == nil {
		t.Error("a mistake in kube-system is not denied")
	}
	createServiceAccount(t, client, namespace, "app")
	for _, replica := range started.Replicas {
		replica.Kill()
	}
	eventually(t, "the webhook cannot be called", func(ctx context.Context) error {
		if err := write(ctx, namespace, map[string]string{roleAnnotation: appRole}); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
			return fmt.Errorf("got %w, want a failed call of the webhook", err)
		}
		return nil
	})
	for what, annotations := range map[string]map[string]string{
		"without annotations":           nil,
		"with unrelated annotations":    {"example.com/owner": "team"},
		"with a similar key":            {"eks.amazonaws.com.example/role-arn": appRole},
		"with the key of another cloud": {"iam.gke.io/gcp-service-account": "a@b"},
	} {
		if err := write(t.Context(), namespace, annotations); err != nil {
			t.Errorf("a ServiceAccount %s: %v", what, err)
		}
	}
	if err := write(t.Context(), "kube-system", map[string]string{roleAnnotation: appRole}); err != nil {
		t.Errorf("a ServiceAccount in kube-system: %v", err)
	}
	change := func(change func(*corev1.ServiceAccount)) error {
		account, err := accounts.Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(account)
		_, err = accounts.Update(t.Context(), account, metav1.UpdateOptions{})
		return err
	}
	for what, test := range map[string]struct {
		change  func(*corev1.ServiceAccount)
		refused bool
	}{
		"a label":                 {func(a *corev1.ServiceAccount) { metav1.SetMetaDataLabel(&a.ObjectMeta, "team", "a") }, false},
		"an unrelated annotation": {func(a *corev1.ServiceAccount) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/a", "b") }, false},
		"a pull secret":           {func(a *corev1.ServiceAccount) { a.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}} }, false},
		"the role":                {func(a *corev1.ServiceAccount) { a.Annotations[roleAnnotation] = mappedRole }, true},
		"an audience":             {func(a *corev1.ServiceAccount) { a.Annotations["eks.amazonaws.com/audience"] = "b" }, true},
	} {
		if err := change(test.change); (err != nil) != test.refused {
			t.Errorf("change of %s: got %v, want rejected %t", what, err, test.refused)
		}
	}
	if err := change(func(a *corev1.ServiceAccount) { delete(a.Annotations, roleAnnotation) }); err != nil {
		t.Errorf("removal of the role: %v", err)
	}
}
