package serviceaccount

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// store caches the identities of the ServiceAccounts that have a role. Most ServiceAccounts of a
// cluster have none, so they use no memory.
type store = objectcache.FilteredStore[*corev1.ServiceAccount, *identity.Identity]

func newStore(defaults identity.Defaults, metrics prometheus.Registerer) *store {
	selectIdentity := func(account *corev1.ServiceAccount) (*identity.Identity, bool) {
		id := identity.FromAnnotations(account.Annotations, defaults)
		id.FromCache = true
		return id, id.IsSet()
	}
	strip := func(account *corev1.ServiceAccount) *corev1.ServiceAccount {
		stripped := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: account.Namespace, Name: account.Name, ResourceVersion: account.ResourceVersion,
		}}
		if _, selected := selectIdentity(account); selected {
			stripped.Annotations = account.Annotations
		}
		return stripped
	}
	s := objectcache.NewFilteredStore(selectIdentity, strip)
	metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_service_accounts",
			Help: "ServiceAccounts with a role in the cache. A fall to 0 means that their annotations were removed, or that --annotation-prefix is wrong.",
		}, func() float64 { return float64(s.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_service_accounts_synced",
			Help: "1 once all ServiceAccounts of the cluster have been listed; it stays 1 if the watch fails later, see pod_identity_webhook_watch_healthy. 0 for more than some seconds after a start means that they cannot be listed: see the log.",
		}, func() float64 {
			if s.Health().SyncSignal() {
				return 1
			}
			return 0
		}),
	)
	return s
}
