package serviceaccount

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// store keeps the identities of the ServiceAccounts that have a role. It is
// what the reflector writes into, in place of the usual cache of whole objects:
// most ServiceAccounts of a cluster have no role, and must cost no memory.
type store struct {
	defaults identity.Defaults
	// synced is closed when the first whole list has arrived.
	synced     chan struct{}
	markSynced func()

	mu         sync.RWMutex
	identities map[types.NamespacedName]*identity.Identity
}

var _ cache.TransformingStore = (*store)(nil)

func newStore(defaults identity.Defaults, metrics prometheus.Registerer) *store {
	synced := make(chan struct{})
	s := &store{
		defaults:   defaults,
		synced:     synced,
		markSynced: sync.OnceFunc(func() { close(synced) }),
		identities: map[types.NamespacedName]*identity.Identity{},
	}
	metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_service_accounts",
			Help: "ServiceAccounts known to have a role. A fall to 0 means that their annotations were removed, or that --annotation-prefix is wrong.",
		}, func() float64 { return float64(s.len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_service_accounts_synced",
			Help: "1 once all ServiceAccounts of the cluster have been seen. 0 for more than some seconds after a start means that they cannot be listed: see the log.",
		}, func() float64 {
			select {
			case <-s.synced:
				return 1
			default:
				return 0
			}
		}),
	)
	return s
}

func (s *store) get(name types.NamespacedName) *identity.Identity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.identities[name]
}

func (s *store) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.identities)
}

// Transformer makes the reflector drop, as each object arrives, what no
// decision needs; otherwise its first list would hold all of them whole.
func (s *store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		account, ok := obj.(*corev1.ServiceAccount)
		if !ok {
			return obj, nil
		}
		stripped := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace:       account.Namespace,
			Name:            account.Name,
			ResourceVersion: account.ResourceVersion,
		}}
		if identity.FromAnnotations(account.Annotations, s.defaults) != nil {
			stripped.Annotations = account.Annotations
		}
		return stripped, nil
	}
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error {
	account, ok := obj.(*corev1.ServiceAccount)
	if !ok {
		return nil
	}
	name := nameOf(account)
	found := identity.FromAnnotations(account.Annotations, s.defaults)
	s.mu.Lock()
	defer s.mu.Unlock()
	if found == nil {
		delete(s.identities, name)
	} else {
		s.identities[name] = found
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	account, ok := obj.(*corev1.ServiceAccount)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.identities, nameOf(account))
	return nil
}

// Replace implements cache.ReflectorStore: objects are all that there are.
func (s *store) Replace(objects []any, _ string) error {
	identities := map[types.NamespacedName]*identity.Identity{}
	for _, obj := range objects {
		account, ok := obj.(*corev1.ServiceAccount)
		if !ok {
			continue
		}
		if found := identity.FromAnnotations(account.Annotations, s.defaults); found != nil {
			identities[nameOf(account)] = found
		}
	}
	s.mu.Lock()
	s.identities = identities
	s.mu.Unlock()
	s.markSynced()
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to repeat: an
// identity follows from its ServiceAccount alone.
func (s *store) Resync() error { return nil }

func nameOf(account *corev1.ServiceAccount) types.NamespacedName {
	return types.NamespacedName{Namespace: account.Namespace, Name: account.Name}
}
