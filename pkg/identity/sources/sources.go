// Package sources puts the sources of identities into their order. It fetches
// nothing itself.
package sources

import (
	"context"
	"errors"
	"math/rand/v2"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Accounts says what the annotations of a ServiceAccount grant. The identity is
// never nil beside a nil error; identity.ErrServiceAccountNotFound says that
// there is no such ServiceAccount.
type Accounts interface {
	Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error)
}

// Mapping says what is written of a ServiceAccount elsewhere: nil for nothing.
type Mapping interface {
	Lookup(ctx context.Context, name types.NamespacedName) (*identity.Identity, error)
}

// List names the ServiceAccounts that use EKS Pod Identity.
type List interface {
	Contains(name types.NamespacedName) bool
}

// Resolver answers which identity a ServiceAccount has. Values of different
// sources are never mixed. The order is
//
//  1. ContainerCredentials lists it: the agent on the node knows the role
//  2. its annotations name a role
//  3. the Mapping names one
type Resolver struct {
	Accounts Accounts
	// Mapping and ContainerCredentials may be nil.
	Mapping              Mapping
	ContainerCredentials List
	// ContainerCredentialsAudience is that of the tokens for the agent.
	ContainerCredentialsAudience string
}

// Resolve returns the identity, which is not Granted if no source grants one.
// The error is identity.ErrServiceAccountNotFound if there is no such
// ServiceAccount and nothing is granted to it, and any other error if that
// cannot be known before ctx is done.
func (r *Resolver) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	if r.ContainerCredentials != nil && r.ContainerCredentials.Contains(name) {
		return r.containerCredentials(ctx, name)
	}
	return r.webIdentity(ctx, name)
}

func (r *Resolver) webIdentity(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	annotated, err := r.Accounts.Resolve(ctx, name)
	missing := errors.Is(err, identity.ErrServiceAccountNotFound)
	if err != nil && !missing {
		return nil, err
	}
	if r.Mapping == nil || !missing && annotated.IsSet() {
		return annotated, err
	}
	mapped, mappingErr := r.Mapping.Lookup(ctx, name)
	switch {
	case mappingErr != nil:
		return nil, mappingErr
	case mapped == nil || !mapped.IsSet():
		return annotated, err
	case missing:
		told := *mapped
		told.Problems = append(append([]identity.AnnotationWarning(nil), mapped.Problems...), identity.AnnotationWarning{
			Annotation: "mapping of", Value: name.String(), Message: "is for one that does not exist", Fallback: "it is used all the same",
		})
		return &told, nil
	}
	return mapped, nil
}

// A token of the default lifetime is given another one between these, in
// seconds, so that not all pods of a cluster call its agents at the same time.
const (
	defaultExpirationSeconds = 86400
	spreadFromSeconds        = 79200
)

// containerCredentials takes from annotations and mapping only what does not
// depend on a role. To be listed is enough for an identity, so it does not
// matter if these cannot be read.
func (r *Resolver) containerCredentials(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	id := &identity.Identity{
		Method:            identity.ContainerCredentials,
		Audience:          r.ContainerCredentialsAudience,
		ExpirationSeconds: defaultExpirationSeconds,
	}
	if said, err := r.webIdentity(ctx, name); err == nil {
		id.RegionalSTS = said.RegionalSTS
		id.ExpirationSeconds = said.ExpirationSeconds
	}
	if id.ExpirationSeconds == defaultExpirationSeconds {
		id.ExpirationSeconds = spreadFromSeconds + rand.Int64N(defaultExpirationSeconds-spreadFromSeconds+1) //nolint:gosec // no secret hangs on it
	}
	return id, nil
}
