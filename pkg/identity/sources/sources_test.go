package sources_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/sources"
)

// source returns the same identity and error for all ServiceAccounts.
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

// listed is a List that contains all ServiceAccounts or none.
type listed bool

func (l listed) Contains(types.NamespacedName) bool { return bool(l) }

func TestResolver_precedence(t *testing.T) {
	role := func(arn string) *identity.Identity {
		return &identity.Identity{Method: identity.WebIdentity, RoleARN: arn, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}
	}
	outage := errors.New("connection refused")
	tests := []struct {
		name              string
		annotated, mapped source
		listed            listed
		role              string
		method            identity.Method
		err               error
		problems          int
		noMapping, isSet  bool
	}{
		{name: "annotation", annotated: source{id: role("annotated")}, noMapping: true, role: "annotated", isSet: true},
		{name: "annotation takes precedence over the mapping", annotated: source{id: role("annotated")}, mapped: source{id: role("mapped")}, role: "annotated", isSet: true},
		{name: "mapping", annotated: source{id: role("")}, mapped: source{id: role("mapped")}, role: "mapped", isSet: true},
		{name: "no source", annotated: source{id: role("")}, mapped: source{}},
		{name: "mapping without a role", annotated: source{id: role("")}, mapped: source{id: role("")}},
		{name: "ServiceAccount cannot be read, mapping not used", annotated: source{err: outage}, mapped: source{id: role("mapped")}, err: outage},
		{name: "mapping not loaded yet", annotated: source{id: role("")}, mapped: source{err: outage}, err: outage},
		{name: "ServiceAccount not found", annotated: source{err: identity.ErrServiceAccountNotFound}, mapped: source{}, err: identity.ErrServiceAccountNotFound},
		{
			name: "ServiceAccount not found, but mapped", annotated: source{err: identity.ErrServiceAccountNotFound},
			mapped: source{id: role("mapped")}, role: "mapped", problems: 1, isSet: true,
		},
		{name: "list takes precedence", annotated: source{id: role("annotated")}, mapped: source{id: role("mapped")}, listed: true, method: identity.ContainerCredentials, isSet: true},
		{name: "list, ServiceAccount cannot be read", annotated: source{err: outage}, listed: true, method: identity.ContainerCredentials, isSet: true},
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
			if got.IsSet() != test.isSet || got.RoleARN != test.role || got.Method != test.method || len(got.Problems) != test.problems {
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
		t.Errorf("got %d, want 3600", got)
	}
	seen := map[int64]bool{}
	for range 100 {
		got := resolve(86400)
		if got < 79200 || got > 86400 {
			t.Errorf("got %d, want 79200 to 86400", got)
		}
		seen[got] = true
	}
	if len(seen) < 10 {
		t.Errorf("got %d different lifetimes in 100, want at least 10", len(seen))
	}
}
