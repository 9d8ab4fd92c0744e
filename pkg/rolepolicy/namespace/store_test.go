package namespace

import (
	"fmt"
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	prefix = "eks.amazonaws.com"
	ours   = prefix + "/permitted-roles"
	kiam   = "iam.amazonaws.com/permitted"
	kube2  = "iam.amazonaws.com/allowed-roles"
)

var teamA = types.NamespacedName{Name: "team-a"}

// namespaceWith returns a namespace with the given pairs of annotations, and with another
// annotation.
func namespaceWith(name string, annotations ...string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"other": "annotation"}}}
	for i := 0; i < len(annotations); i += 2 {
		n.Annotations[annotations[i]] = annotations[i+1]
	}
	return n
}

func TestStore_update(t *testing.T) {
	s := newStore(prefix, prometheus.NewRegistry())
	steps := []struct {
		name string
		do   func() error
		want policy
	}{
		{"added without a policy", func() error { return s.Add(namespaceWith("team-a")) }, nil},
		{"annotated", func() error { return s.Update(namespaceWith("team-a", ours, "app")) }, policy{ours: "app"}},
		{"another policy", func() error { return s.Update(namespaceWith("team-a", ours, "other")) }, policy{ours: "other"}},
		{"annotations of other tools", func() error { return s.Update(namespaceWith("team-a", kiam, ".*", kube2, "[]")) }, policy{kiam: ".*", kube2: "[]"}},
		{"annotations removed", func() error { return s.Update(namespaceWith("team-a")) }, nil},
		{"empty policy", func() error { return s.Update(namespaceWith("team-a", ours, "")) }, policy{ours: ""}},
		{"deleted", func() error { return s.Delete(namespaceWith("team-a", ours, "")) }, nil},
		{"listed", func() error { return s.Replace([]any{namespaceWith("team-a", ours, "app")}, "1") }, policy{ours: "app"}},
		{"no longer listed", func() error { return s.Replace([]any{namespaceWith("team-b", ours, "app")}, "2") }, nil},
		{"added object of another type", func() error { return s.Add(&corev1.Pod{}) }, nil},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got, _ := s.Get(teamA)
		if !maps.Equal(got, step.want) || (got == nil) != (step.want == nil) {
			t.Errorf("%s: got policy %v, want %v", step.name, got, step.want)
		}
	}
}

func TestStore_ignoresNamespacesWithoutPolicy(t *testing.T) {
	s := newStore(prefix, prometheus.NewRegistry())
	var listed []any
	for i := range 1000 {
		listed = append(listed, namespaceWith(fmt.Sprintf("listed-%d", i)))
		if err := s.Add(namespaceWith(fmt.Sprintf("added-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Len(); got != 0 {
		t.Errorf("after adds: got %d policies, want 0", got)
	}
	if err := s.Replace(append(listed, namespaceWith("team-a", kiam, ".*")), "1"); err != nil {
		t.Fatal(err)
	}
	if got := s.Len(); got != 1 {
		t.Errorf("after a list: got %d policies, want 1", got)
	}
}

func TestTransformer_stripsUnusedFields(t *testing.T) {
	s := newStore(prefix, prometheus.NewRegistry())
	full := namespaceWith("team-a", ours, "app")
	full.ResourceVersion = "7"
	full.Labels = map[string]string{"team": "a"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	full.Spec.Finalizers = []corev1.FinalizerName{"kubernetes"}
	got, err := s.Transformer()(full)
	if err != nil {
		t.Fatal(err)
	}
	stripped := got.(*corev1.Namespace)
	if stripped.Labels != nil || stripped.ManagedFields != nil || stripped.Spec.Finalizers != nil ||
		!maps.Equal(stripped.Annotations, map[string]string{ours: "app"}) {
		t.Errorf("got %+v, want only name, resourceVersion and the policy", stripped)
	}
	if stripped.ResourceVersion != "7" || stripped.Name != "team-a" {
		t.Errorf("got %+v, want name and resourceVersion kept", stripped)
	}
	if err := s.Add(stripped); err != nil {
		t.Fatal(err)
	}
	if kept, _ := s.Get(teamA); kept[ours] != "app" {
		t.Errorf("got policy %v, want app", kept)
	}
}

func TestStore_synced(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := newStore(prefix, registry)
	p := &Policies{store: s}
	if err := s.Add(namespaceWith("team-a", ours, "app")); err != nil {
		t.Fatal(err)
	}
	if p.Synced() == nil || metric(t, registry, "pod_identity_webhook_namespaces_synced", "") != 0 {
		t.Error("got synced before the first list")
	}
	if got := metric(t, registry, "pod_identity_webhook_namespace_policies", ""); got != 1 {
		t.Errorf("got %v policies, want 1", got)
	}
	for range 2 {
		if err := s.Replace(nil, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Synced(); err != nil || metric(t, registry, "pod_identity_webhook_namespaces_synced", "") != 1 {
		t.Errorf("after the list: got %v, want synced", err)
	}
}

// metric returns the value of a gauge or counter. If label is not empty, it is the value of
// the metric's first label.
func metric(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, label)
	return 0
}
