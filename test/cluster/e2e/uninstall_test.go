package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// release is the name of the chart's release and of its namespace.
const release = walkthrough.Release

func TestUninstall(t *testing.T) {
	with := inventory(t)
	if _, err := walkthrough.Output(t.Context(), world.Helm, "--kubeconfig", world.Kubeconfig, "--namespace", release, "uninstall", release, "--wait"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := install(context.Background()); err != nil {
			t.Error(err)
		}
	})
	// Those of ReplicaSets and Endpoints go by the garbage collector.
	eventually(t, "nothing is left", func(context.Context) error {
		var found []error
		for object := range inventory(t) {
			found = append(found, errors.New(object))
		}
		return errors.Join(found...)
	})
	// What is looked for can be found.
	for _, object := range []string{
		"deployments.apps " + release, "secrets " + release, "clusterroles.rbac.authorization.k8s.io irsa-" + release,
		"mutatingwebhookconfigurations.admissionregistration.k8s.io irsa-" + release,
		"validatingadmissionpolicies.admissionregistration.k8s.io irsa-" + release + "-guard",
	} {
		if !with[object] {
			t.Errorf("before, there was no %s among %v", object, with)
		}
	}
	namespace := newNamespace(t, nil)
	giveRole(t, namespace, "app")
	if pod := createPod(t, namespace, "app", nil); roleOf(pod) != "" {
		t.Errorf("a pod was still given %s", roleOf(pod))
	}
}

// inventory are the objects of the release: all in its namespace but what every
// namespace has, and those of the cluster that bear its name.
func inventory(t *testing.T) map[string]bool {
	t.Helper()
	client, err := metadata.NewForConfig(world.config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := world.client.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			kind := version.WithResource(resource.Name)
			var objects metadata.ResourceInterface = client.Resource(kind)
			if resource.Namespaced {
				objects = client.Resource(kind).Namespace(release)
			}
			listed, err := objects.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range listed.Items {
				name := kind.GroupResource().String() + " " + object.Name
				if !everyNamespaceHas(name) && (resource.Namespaced || strings.HasPrefix(strings.TrimPrefix(object.Name, "irsa-"), release)) {
					found[name] = true
				}
			}
		}
	}
	return found
}

// everyNamespaceHas says whether an object is not the chart's but Kubernetes'.
func everyNamespaceHas(name string) bool {
	return name == "serviceaccounts default" || name == "configmaps kube-root-ca.crt" || name == "namespaces "+release || // helm never deletes it
		strings.HasPrefix(name, "events")
}
