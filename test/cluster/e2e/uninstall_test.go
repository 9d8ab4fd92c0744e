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
	// The garbage collector deletes ReplicaSets and EndpointSlices.
	eventually(t, "all objects of the release are deleted", func(context.Context) error {
		var found []error
		for object := range inventory(t) {
			found = append(found, errors.New(object))
		}
		return errors.Join(found...)
	})
	// inventory found these objects before the uninstallation.
	for _, object := range []string{
		"deployments.apps " + release, "secrets " + release, "clusterroles.rbac.authorization.k8s.io irsa-" + release,
		"mutatingwebhookconfigurations.admissionregistration.k8s.io irsa-" + release,
		"validatingadmissionpolicies.admissionregistration.k8s.io irsa-" + release + "-guard",
	} {
		if !with[object] {
			t.Errorf("got no %s before the uninstallation in %v", object, with)
		}
	}
	namespace := newNamespace(t, nil)
	giveRole(t, namespace, "app")
	if pod := createPod(t, namespace, "app", nil); roleOf(pod) != "" {
		t.Errorf("got role %s after the uninstallation, want none", roleOf(pod))
	}
}

// inventory returns the objects of the release: all objects in its namespace, except
// those of every namespace, and the cluster-scoped objects with its name.
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

// everyNamespaceHas reports whether Kubernetes, and not the chart, created an object.
func everyNamespaceHas(name string) bool {
	return name == "serviceaccounts default" || name == "configmaps kube-root-ca.crt" || name == "namespaces "+release || // helm does not delete it
		strings.HasPrefix(name, "events")
}
