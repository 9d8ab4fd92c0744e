package explain

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// Cluster reads objects that are in no file.
type Cluster interface {
	corev1client.ServiceAccountsGetter
	corev1client.NamespacesGetter
	corev1client.ConfigMapsGetter
}

// MissingInputError is the error if the webhook's decision needs an object that is missing.
type MissingInputError struct {
	// What is the missing object, such as "ServiceAccount shop/cart".
	What string
}

// Error implements error. The message says how to provide the object.
func (e *MissingInputError) Error() string {
	return e.What + " is in none of the files; pass its manifest with -f, or read it from the cluster with --from-cluster"
}

// accounts resolves identities from the annotations of ServiceAccounts.
type accounts struct {
	manifests *Manifests
	cluster   Cluster // or nil
	defaults  identity.Defaults
}

// Resolve returns the identity of a ServiceAccount. It returns an error if the
// ServiceAccount is missing or cannot be read.
func (a accounts) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	annotations, err := a.annotations(ctx, name)
	if err != nil {
		return nil, err
	}
	return identity.FromAnnotations(annotations, a.defaults), nil
}

// annotations returns the annotations of a ServiceAccount. A file takes precedence over the
// cluster, as if the file were applied. It returns a *MissingInputError if the
// ServiceAccount is in no file and there is no cluster.
func (a accounts) annotations(ctx context.Context, name types.NamespacedName) (map[string]string, error) {
	if annotations, ok := a.manifests.accounts[name]; ok {
		return annotations, nil
	}
	if a.cluster == nil {
		return nil, &MissingInputError{What: "ServiceAccount " + name.String()}
	}
	account, err := a.cluster.ServiceAccounts(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, identity.ErrServiceAccountNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get ServiceAccount %s: %w", name, err)
	}
	return account.Annotations, nil
}

// mapping is the ConfigMap of roles.
type mapping struct{ parsed *identity.Mapping }

// Lookup returns the identity of a ServiceAccount in the mapping, or nil.
func (m mapping) Lookup(_ context.Context, name types.NamespacedName) (*identity.Identity, error) {
	return m.parsed.Identity(name), nil
}

// readMapping returns the mapping of a file, or else that of the cluster in the namespace of
// the webhook. It also returns the invalid entries, which the webhook skips. The mapping is
// nil if there is none. It returns an error if the mapping cannot be read or decoded.
func readMapping(ctx context.Context, manifests *Manifests, cluster Cluster, namespace string, defaults identity.Defaults) (*mapping, identity.EntryErrors, error) {
	data := manifests.mapping
	if data == nil && cluster != nil && namespace != "" {
		found, err := cluster.ConfigMaps(namespace).Get(ctx, ConfigMapName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, fmt.Errorf("get ConfigMap %s/%s: %w", namespace, ConfigMapName, err)
		}
		if err == nil {
			data = found.Data
		}
	}
	content, ok := data[mappingKey]
	if !ok {
		return nil, nil, nil
	}
	parsed, skipped, err := identity.ParseMapping([]byte(content), defaults)
	if err != nil {
		return nil, nil, fmt.Errorf("decode ConfigMap %s: %w; the webhook keeps the last mapping that it decoded, which is unknown here", ConfigMapName, err)
	}
	return &mapping{parsed}, skipped, nil
}

// policies evaluates the role policies of namespaces.
type policies struct {
	manifests *Manifests
	cluster   Cluster // or nil
	mode      rolepolicy.Mode
	prefix    string
}

// Permitted returns nil if the role policy of a namespace permits the roles. It returns an
// error if the policy denies a role, or if the namespace is missing or cannot be read.
func (p policies) Permitted(ctx context.Context, namespace string, roleARNs []string) (fromCache bool, err error) {
	annotations, ok := p.manifests.namespaces[namespace]
	if !ok {
		if p.cluster == nil {
			return false, &MissingInputError{What: "Namespace " + namespace}
		}
		found, err := p.cluster.Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("get Namespace %s: %w", namespace, err)
		}
		annotations = found.Annotations
	}
	for _, roleARN := range roleARNs {
		if err := rolepolicy.Evaluate(p.mode, p.prefix, namespace, annotations, roleARN); err != nil {
			return false, err
		}
	}
	return false, nil
}
