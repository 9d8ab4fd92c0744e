package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const optInLabel = "eks.amazonaws.com/pod-identity-webhook"

// customResources are the CustomResourceDefinitions of the objects that the chart can
// create. Each is a file of a Go module.
var customResources = map[string][]string{
	"github.com/cert-manager/cert-manager": {
		"deploy/crds/cert-manager.io_certificates.yaml",
		"deploy/crds/cert-manager.io_issuers.yaml",
	},
	"github.com/prometheus-operator/prometheus-operator": {
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
}

// defineCustomResources creates the CustomResourceDefinitions. They stay: the API server
// deletes a definition with a delay, and would delete one that was created again.
func defineCustomResources(t *testing.T) {
	t.Helper()
	var paths []string
	for module, files := range customResources {
		command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
		command.Dir = repopath.Path("test", "crds")
		output, err := command.Output()
		if err != nil {
			t.Fatalf("go mod download %s: %v\n%s", module, err, output)
		}
		var downloaded struct{ Dir string }
		if err := json.Unmarshal(output, &downloaded); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			paths = append(paths, filepath.Join(downloaded.Dir, filepath.FromSlash(file)))
		}
	}
	if _, err := manifest.Apply(t.Context(), cluster.Config(), paths...); err != nil {
		t.Fatal(err)
	}
}

// TestManifests_accepted applies the rendered chart of each golden file, with the
// strictest field validation of the API server.
func TestManifests_accepted(t *testing.T) {
	client := newClient(t)
	defineCustomResources(t)
	files, err := filepath.Glob(repopath.Path("test", "chart", "testdata", "*.values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("got %d values files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".values.yaml"), func(t *testing.T) {
			namespace := newNamespace(t, client)
			rendered, err := chart.Template(t.Context(), namespace, "--values="+file)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "chart.yaml")
			if err := os.WriteFile(path, rendered, 0o600); err != nil {
				t.Fatal(err)
			}
			var applied []*unstructured.Unstructured
			// The API server serves a new kind shortly after its definition is created.
			eventually(t, "the manifests are accepted", func(ctx context.Context) error {
				applied, err = manifest.Apply(ctx, cluster.Config(), path)
				if err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
					t.Fatal(err)
				}
				return err
			})
			if err := manifest.Delete(t.Context(), cluster.Config(), applied); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKustomize_apply runs the commands of docs/install.md.
func TestKustomize_apply(t *testing.T) {
	client := newClient(t)
	defineCustomResources(t)
	for _, overlay := range []string{"cluster-wide", "opt-in", "cert-manager"} {
		t.Run(overlay, func(t *testing.T) {
			directory := repopath.Path("deploy", "kustomize", "overlays", overlay)
			t.Cleanup(func() { deleteAll(t, runKubectl, directory) })
			// The API server serves a new kind shortly after its definition is created.
			eventually(t, "the kustomization is applied", func(ctx context.Context) error {
				_, err := runKubectl(ctx, "apply", "--server-side", "--validate=strict", "-k", directory)
				return err
			})
			configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), chart.ClusterName, metav1.GetOptions{})
			if err != nil || configuration.Webhooks[0].ClientConfig.Service.Namespace != installed {
				t.Errorf("the webhook configuration does not exist: %v", err)
			}
		})
	}
}

// deleteAll deletes the objects of a kustomization, except the namespace: no controller
// runs here that would finish its deletion.
func deleteAll(t *testing.T, kubectl func(context.Context, ...string) ([]byte, error), directory string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	output, err := kubectl(ctx, "delete", "--wait=false", "-k", directory, "--dry-run=client", "-o=name")
	if err != nil {
		t.Error(err)
	}
	for name := range strings.FieldsSeq(string(output)) {
		if name == "namespace/"+installed {
			continue
		}
		if _, err := kubectl(ctx, "delete", "--wait=false", "--namespace="+installed, name); err != nil {
			t.Error(err)
		}
	}
}

// TestChart_permissions installs the chart in each mode. The replicas have the token of
// the chart's ServiceAccount and no other credentials.
func TestChart_permissions(t *testing.T) {
	client, received := newWarnedClient(t)
	for _, mode := range []string{"cluster-wide", "opt-in"} {
		t.Run(mode, func(t *testing.T) {
			started := install(t, chartinstall.Options{Values: []string{
				"mode=" + mode, "failurePolicy=Fail", "watchConfigMap=true", "rolePolicy=on",
			}})
			wantRestricted(t, client, started)
			namespace := newNamespace(t, client)
			if mode == "opt-in" {
				label(t, client, namespace, optInLabel, "enabled")
			}
			createServiceAccount(t, client, namespace, "app")
			createAccountWithout(t, client, namespace, "mapped")
			writeMapping(t, client, started.Namespace, fmt.Sprintf(`{"%s/mapped":{"RoleARN":%q}}`, namespace, mappedRole))
			wantRole(t, client, namespace, "app", appRole)
			wantRole(t, client, namespace, "mapped", mappedRole)

			writeMapping(t, client, started.Namespace, "no JSON")
			eventually(t, "the ConfigMap has an event about the error", func(ctx context.Context) error {
				return oneEvent(ctx, client, started.Namespace)
			})

			annotate(t, client, namespace, "eks.amazonaws.com/permitted-roles", `["arn:aws:iam::111122223333:role/other"]`)
			eventually(t, "the role is not permitted", func(ctx context.Context) error {
				_, err := client.CoreV1().Pods(namespace).Create(ctx, podOf("denied", "app"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil || !strings.Contains(err.Error(), "permitted-roles") {
					return fmt.Errorf("got %w, want a denial", err)
				}
				return nil
			})

			received.take()
			eventually(t, "a mistake in a ServiceAccount causes a warning", func(ctx context.Context) error {
				_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, serviceAccount("mistaken", "no-arn"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if got := received.take(); err == nil && !strings.Contains(got, roleAnnotation) {
					err = fmt.Errorf("got warnings %q", got)
				}
				return err
			})
			// These must be 0 also with an API server that cannot stream lists.
			for _, failures := range []string{
				"certificate_errors_total", "service_account_watch_failures_total", "config_map_watch_failures_total", "namespace_watch_failures_total",
			} {
				if got := metric(t, started, "pod_identity_webhook_"+failures); got != 0 {
					t.Errorf("%s: got %v, want 0", failures, got)
				}
			}
		})
	}
}

// wantRestricted checks that a pod of the Deployment is valid under the restricted Pod
// Security Standard.
func wantRestricted(t *testing.T, client kubernetes.Interface, started *chartinstall.Installation) {
	t.Helper()
	label(t, client, started.Namespace, "pod-security.kubernetes.io/enforce", "restricted")
	pod := &corev1.Pod{
		ObjectMeta: *started.Deployment.Spec.Template.ObjectMeta.DeepCopy(),
		Spec:       *started.Deployment.Spec.Template.Spec.DeepCopy(),
	}
	pod.Name = "replica"
	pod.Spec.PriorityClassName = "" // a controller manager would create the class
	create := func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(started.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	if err := create(t.Context()); err != nil {
		t.Errorf("create a pod of the Deployment: %v", err)
	}
	pod.Spec.Containers[0].SecurityContext = nil
	eventually(t, "the standard is enforced", func(ctx context.Context) error {
		if create(ctx) == nil {
			return errors.New("a pod that violates the standard was created")
		}
		return nil
	})
}

func label(t testing.TB, client kubernetes.Interface, namespace, key, value string) {
	t.Helper()
	changeNamespace(t, client, namespace, func(object *corev1.Namespace) { metav1.SetMetaDataLabel(&object.ObjectMeta, key, value) })
}

func annotate(t *testing.T, client kubernetes.Interface, namespace, key, value string) {
	t.Helper()
	changeNamespace(t, client, namespace, func(object *corev1.Namespace) { metav1.SetMetaDataAnnotation(&object.ObjectMeta, key, value) })
}

func changeNamespace(t testing.TB, client kubernetes.Interface, name string, change func(*corev1.Namespace)) {
	t.Helper()
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(namespace)
	if _, err := client.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestOutage_unrelatedPods stops the webhook with failurePolicy Fail, and creates pods
// for which the API server does not call it.
func TestOutage_unrelatedPods(t *testing.T) {
	client := newClient(t)
	if err := controlplane.CreateDefaultServiceAccount(t.Context(), client, "kube-system"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"cluster-wide", "opt-in"} {
		t.Run(mode, func(t *testing.T) {
			started := install(t, chartinstall.Options{Values: []string{"mode=" + mode, "failurePolicy=Fail"}})
			if err := controlplane.CreateDefaultServiceAccount(t.Context(), client, started.Namespace); err != nil {
				t.Fatal(err)
			}
			for _, replica := range started.Replicas {
				replica.Kill()
			}
			concerned, other := newNamespace(t, client), newNamespace(t, client)
			for _, namespace := range []string{concerned, "kube-system", started.Namespace} {
				label(t, client, namespace, optInLabel, "enabled")
			}
			create := func(namespace string, change func(*corev1.Pod)) error {
				pod := podOf("pod", "default")
				if change != nil {
					change(pod)
				}
				_, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			}
			eventually(t, "a pod that the webhook would inject is rejected", func(context.Context) error {
				if err := create(concerned, nil); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
					return fmt.Errorf("got %w, want a failed call of the webhook", err)
				}
				return nil
			})
			if err := create(other, nil); (err == nil) != (mode == "opt-in") {
				t.Errorf("namespace without the label: %v", err)
			}
			for what, err := range map[string]error{
				"kube-system":             create("kube-system", nil),
				"the webhook's namespace": create(started.Namespace, nil),
				"the skip label": create(concerned, func(pod *corev1.Pod) {
					pod.Labels = map[string]string{"eks.amazonaws.com/skip-pod-identity-webhook": ""}
				}),
				"a mirror pod": create(concerned, func(pod *corev1.Pod) {
					pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "static"}
					pod.Spec.NodeName, pod.Spec.ServiceAccountName = "node", ""
				}),
			} {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	changeNamespace(t, client, "kube-system", func(object *corev1.Namespace) { delete(object.Labels, optInLabel) })
}
