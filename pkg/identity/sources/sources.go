// Package sources combines the sources of identities in their order of precedence. It has no I/O
// of its own.
package sources

import (
	"context"
	"errors"
	"math/rand/v2"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Accounts returns the identity in the annotations of a ServiceAccount. If the error is nil, the
// identity is not nil. The error is identity.ErrServiceAccountNotFound if the ServiceAccount does
// not exist.
type Accounts interface {
	Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error)
}

// Mapping returns the identity of a ServiceAccount in a mapping, or nil if there is no entry.
type Mapping interface {
	Lookup(ctx context.Context, name types.NamespacedName) (*identity.Identity, error)
}

// List reports which ServiceAccounts use EKS Pod Identity.
type List interface {
	Contains(name types.NamespacedName) bool
}

// Resolver returns the identities of ServiceAccounts. It never combines values of several
// sources. It uses the first of these sources that applies:
//
//  1. ContainerCredentials contains the ServiceAccount. The agent on the node determines the
//     role.
//  2. The annotations of the ServiceAccount have a role.
//  3. The Mapping has a role for the ServiceAccount.
type Resolver struct {
	Accounts Accounts
	// Mapping and ContainerCredentials can be nil.
	Mapping              Mapping
	ContainerCredentials List
	// ContainerCredentialsAudience is the audience of the tokens for the agent.
	ContainerCredentialsAudience string
}

// Resolve returns the identity of a ServiceAccount. If no source has one, IsSet returns false for
// it. Resolve returns identity.ErrServiceAccountNotFound if the ServiceAccount does not exist and
// no source has an identity for it. It returns another error if it cannot determine the identity
// before ctx is done.
func (r *Resolver) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	if r.ContainerCredentials != nil && r.ContainerCredentials.Contains(name) {
		return r.containerCredentials(ctx, name)
	}
	return r.webIdentity(ctx, name)
}

// webIdentity returns the identity in the annotations or the mapping.
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
		copied := *mapped
		copied.Problems = append(append([]identity.AnnotationWarning(nil), mapped.Problems...), identity.AnnotationWarning{
			Annotation: "mapping of", Value: name.String(), Message: "is for a ServiceAccount that does not exist", Fallback: "the mapping is used",
		})
		return &copied, nil
	}
	return mapped, nil
}

// The limits of the random lifetime that replaces the default lifetime of a token, in seconds.
// Without it, all pods of a cluster would call the agents at the same time.
const (
	defaultExpirationSeconds = 86400
	spreadFromSeconds        = 79200
)

// containerCredentials returns the identity of a ServiceAccount in the list. It uses only those
// values of annotations and mapping that do not depend on a role. It ignores errors of these
// sources, because the list alone determines the identity.
func (r *Resolver) containerCredentials(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	id := &identity.Identity{
		Method:            identity.ContainerCredentials,
		Audience:          r.ContainerCredentialsAudience,
		ExpirationSeconds: defaultExpirationSeconds,
	}
	if annotated, err := r.webIdentity(ctx, name); err == nil {
		id.RegionalSTS = annotated.RegionalSTS
		id.ExpirationSeconds = annotated.ExpirationSeconds
	}
	if id.ExpirationSeconds == defaultExpirationSeconds {
		id.ExpirationSeconds = spreadFromSeconds + rand.Int64N(defaultExpirationSeconds-spreadFromSeconds+1) //nolint:gosec // the number need not be secret
	}
	return id, nil
}
