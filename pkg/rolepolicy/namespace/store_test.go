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

// namespaceWith returns a namespace with the given annotations, in pairs, and
// one that is no policy.
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
		what string
		do   func() error
		want policy
	}{
		{"added without a policy", func() error { return s.Add(namespaceWith("team-a")) }, nil},
		{"annotated", func() error { return s.Update(namespaceWith("team-a", ours, "app")) }, policy{ours: "app"}},
		{"another policy", func() error { return s.Update(namespaceWith("team-a", ours, "other")) }, policy{ours: "other"}},
		{"annotations of others", func() error { return s.Update(namespaceWith("team-a", kiam, ".*", kube2, "[]")) }, policy{kiam: ".*", kube2: "[]"}},
		{"annotations removed", func() error { return s.Update(namespaceWith("team-a")) }, nil},
		{"an empty policy is one", func() error { return s.Update(namespaceWith("team-a", ours, "")) }, policy{ours: ""}},
		{"deleted", func() error { return s.Delete(namespaceWith("team-a", ours, "")) }, nil},
		{"listed", func() error { return s.Replace([]any{namespaceWith("team-a", ours, "app")}, "1") }, policy{ours: "app"}},
		{"no longer listed", func() error { return s.Replace([]any{namespaceWith("team-b", ours, "app")}, "2") }, nil},
		{"something else arrives", func() error { return s.Add(&corev1.Pod{}) }, nil},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		got, _ := s.Get(teamA)
		if !maps.Equal(got, step.want) || (got == nil) != (step.want == nil) {
			t.Errorf("%s: policy is %v, want %v", step.what, got, step.want)
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
		t.Errorf("%d kept after adds", got)
	}
	if err := s.Replace(append(listed, namespaceWith("team-a", kiam, ".*")), "1"); err != nil {
		t.Fatal(err)
	}
	if got := s.Len(); got != 1 {
		t.Errorf("%d kept after a list, want 1", got)
	}
}

func TestTransformer_stripsUnusedFields(t *testing.T) {
	s := newStore(prefix, prometheus.NewRegistry())
	whole := namespaceWith("team-a", ours, "app")
	whole.ResourceVersion = "7"
	whole.Labels = map[string]string{"team": "a"}
	whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	whole.Spec.Finalizers = []corev1.FinalizerName{"kubernetes"}
	got, err := s.Transformer()(whole)
	if err != nil {
		t.Fatal(err)
	}
	stripped := got.(*corev1.Namespace)
	if stripped.Labels != nil || stripped.ManagedFields != nil || stripped.Spec.Finalizers != nil ||
		!maps.Equal(stripped.Annotations, map[string]string{ours: "app"}) {
		t.Errorf("kept too much or too little: %+v", stripped)
	}
	if stripped.ResourceVersion != "7" || stripped.Name != "team-a" {
		t.Errorf("kept too little: %+v", stripped)
	}
	if err := s.Add(stripped); err != nil {
		t.Fatal(err)
	}
	if kept, _ := s.Get(teamA); kept[ours] != "app" {
		t.Errorf("the policy is lost: %v", kept)
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
		t.Error("synced before the first list")
	}
	if got := metric(t, registry, "pod_identity_webhook_namespace_policies", ""); got != 1 {
		t.Errorf("%v policies, want 1", got)
	}
	for range 2 {
		if err := s.Replace(nil, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Synced(); err != nil || metric(t, registry, "pod_identity_webhook_namespaces_synced", "") != 1 {
		t.Errorf("not synced after the list: %v", err)
	}
}

// metric returns the value of a gauge or counter, of the given label if it has one.
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
