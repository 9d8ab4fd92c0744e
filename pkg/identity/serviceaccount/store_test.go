package serviceaccount

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

var defaults = identity.Defaults{AnnotationPrefix: "eks.amazonaws.com", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}

func account(name, role string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{"other": "annotation"}}}
	if role != "" {
		a.Annotations["eks.amazonaws.com/role-arn"] = role
	}
	return a
}

var app = types.NamespacedName{Namespace: "default", Name: "app"}

const appRole = "arn:aws:iam::111122223333:role/app"

func roleOf(s *store) string {
	if found, ok := s.Get(app); ok {
		return found.RoleARN
	}
	return ""
}

func TestStore_update(t *testing.T) {
	s := newStore(defaults, prometheus.NewRegistry())
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"added without a role", func() error { return s.Add(account("app", "")) }, ""},
		{"annotated", func() error { return s.Update(account("app", appRole)) }, appRole},
		{"another role", func() error { return s.Update(account("app", appRole+"2")) }, appRole + "2"},
		{"annotation removed", func() error { return s.Update(account("app", "")) }, ""},
		{"annotated again", func() error { return s.Update(account("app", appRole)) }, appRole},
		{"deleted", func() error { return s.Delete(account("app", appRole)) }, ""},
		{"listed", func() error { return s.Replace([]any{account("app", appRole)}, "1") }, appRole},
		{"no longer listed", func() error { return s.Replace(nil, "2") }, ""},
		{"object of another type", func() error { return s.Add(&corev1.Pod{}) }, ""},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := roleOf(s); got != step.want {
			t.Errorf("%s: got role %q, want %q", step.name, got, step.want)
		}
	}
}

func TestStore_ignoresServiceAccountsWithoutRole(t *testing.T) {
	s := newStore(defaults, prometheus.NewRegistry())
	var listed []any
	for i := range 1000 {
		listed = append(listed, account(fmt.Sprintf("listed-%d", i), ""))
		if err := s.Add(account(fmt.Sprintf("added-%d", i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Len(); got != 0 {
		t.Errorf("got %d stored after adds, want 0", got)
	}
	if err := s.Replace(append(listed, account("app", appRole)), "1"); err != nil {
		t.Fatal(err)
	}
	if got := s.Len(); got != 1 {
		t.Errorf("got %d stored after a list, want 1", got)
	}
}

func TestTransformer_stripsUnusedFields(t *testing.T) {
	s := newStore(defaults, prometheus.NewRegistry())
	full := account("app", "")
	full.ResourceVersion = "7"
	full.Secrets = []corev1.ObjectReference{{Name: "a"}}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	got, err := s.Transformer()(full)
	if err != nil {
		t.Fatal(err)
	}
	stripped := got.(*corev1.ServiceAccount)
	if stripped.Secrets != nil || stripped.ManagedFields != nil || stripped.Annotations != nil {
		t.Errorf("got unused fields in %+v", stripped)
	}
	if stripped.ResourceVersion != "7" || stripped.Name != "app" || stripped.Namespace != "default" {
		t.Errorf("got missing fields in %+v", stripped)
	}
	if got, _ := s.Transformer()(account("app", appRole)); s.Add(got) != nil || roleOf(s) != appRole {
		t.Errorf("got role %q, want "+appRole, roleOf(s))
	}
}

func TestStore_synced(t *testing.T) {
	s := newStore(defaults, prometheus.NewRegistry())
	r := &Resolver{store: s}
	if err := s.Add(account("app", appRole)); err != nil {
		t.Fatal(err)
	}
	if r.Synced() == nil {
		t.Error("got Synced before the first list")
	}
	for range 2 {
		if err := s.Replace(nil, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Synced(); err != nil {
		t.Errorf("got error after the list: %v", err)
	}
}
