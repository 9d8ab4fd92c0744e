package sources_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/sources"
)

// source answers with one identity and error, whatever it is asked.
type source struct {
	id  *identity.Identity
	err error
}

func (s source) Resolve(context.Context, types.NamespacedName) (*identity.Identity, error) {
	return s.id, s.err
}

func (s source) Lookup(context.Context, types.NamespacedName) (*identity.Identity, error) {
	return s.id, s.err
}

// listed says whether a ServiceAccount uses EKS Pod Identity.
type listed bool

func (l listed) Contains(types.NamespacedName) bool { return bool(l) }

func TestResolver_precedence(t *testing.T) {
	role := func(arn string) *identity.Identity {
		return &identity.Identity{Method: identity.WebIdentity, RoleARN: arn, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}
	}
	outage := errors.New("connection refused")
	tests := []struct {
		name               string
		annotated, mapped  source
		listed             listed
		role               string
		method             identity.Method
		err                error
		problems           int
		noMapping, granted bool
	}{
		{name: "an annotation", annotated: source{id: role("annotated")}, noMapping: true, role: "annotated", granted: true},
		{name: "an annotation beats the mapping", annotated: source{id: role("annotated")}, mapped: source{id: role("mapped")}, role: "annotated", granted: true},
		{name: "the mapping", annotated: source{id: role("")}, mapped: source{id: role("mapped")}, role: "mapped", granted: true},
		{name: "nothing", annotated: source{id: role("")}, mapped: source{}},
		{name: "a mapping without a role", annotated: source{id: role("")}, mapped: source{id: role("")}},
		{name: "an unreadable ServiceAccount is no reason to ask the mapping", annotated: source{err: outage}, mapped: source{id: role("mapped")}, err: outage},
		{name: "a mapping that is not known yet", annotated: source{id: role("")}, mapped: source{err: outage}, err: outage},
		{name: "no such ServiceAccount", annotated: source{err: identity.ErrServiceAccountNotFound}, mapped: source{}, err: identity.ErrServiceAccountNotFound},
		{
			name: "no such ServiceAccount, but it is mapped: told", annotated: source{err: identity.ErrServiceAccountNotFound},
			mapped: source{id: role("mapped")}, role: "mapped", problems: 1, granted: true,
		},
		{name: "the list beats all", annotated: source{id: role("annotated")}, mapped: source{id: role("mapped")}, listed: true, method: identity.ContainerCredentials, granted: true},
		{name: "the list needs no ServiceAccount to be read", annotated: source{err: outage}, listed: true, method: identity.ContainerCredentials, granted: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &sources.Resolver{Accounts: test.annotated, ContainerCredentials: test.listed, ContainerCredentialsAudience: "pods.eks.amazonaws.com"}
			if !test.noMapping {
				r.Mapping = test.mapped
			}
			got, err := r.Resolve(t.Context(), types.NamespacedName{Namespace: "default", Name: "app"})
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if test.method == "" {
				test.method = identity.WebIdentity
			}
			if got.IsSet() != test.granted || got.RoleARN != test.role || got.Method != test.method || len(got.Problems) != test.problems {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestResolver_jittersDefaultExpiration(t *testing.T) {
	resolve := func(seconds int64) int64 {
		r := &sources.Resolver{
			Accounts:             source{id: &identity.Identity{Method: identity.WebIdentity, ExpirationSeconds: seconds, RegionalSTS: true}},
			ContainerCredentials: listed(true),
		}
		got, err := r.Resolve(t.Context(), types.NamespacedName{})
		if err != nil || !got.RegionalSTS {
			t.Fatalf("got %+v, %v", got, err)
		}
		return got.ExpirationSeconds
	}
	if got := resolve(3600); got != 3600 {
		t.Errorf("3600 has become %d", got)
	}
	seen := map[int64]bool{}
	for range 100 {
		got := resolve(86400)
		if got < 79200 || got > 86400 {
			t.Errorf("the default has become %d", got)
		}
		seen[got] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different lifetimes in 100", len(seen))
	}
}
