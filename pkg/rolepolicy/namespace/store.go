package namespace

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// policy has the annotations of a namespace that rolepolicy reads. It is nil if there are
// none. It is shared, so it must not be changed.
type policy map[string]string

func policyOf(namespace *corev1.Namespace, prefix string) policy {
	var found policy
	for _, annotation := range rolepolicy.Annotations(prefix) {
		if value, ok := namespace.Annotations[annotation]; ok {
			if found == nil {
				found = policy{}
			}
			found[annotation] = value
		}
	}
	return found
}

// store caches the policies of the namespaces that have one.
type store = objectcache.FilteredStore[*corev1.Namespace, policy]

func newStore(prefix string, metrics prometheus.Registerer) *store {
	keep := func(namespace *corev1.Namespace) (policy, bool) {
		found := policyOf(namespace, prefix)
		return found, found != nil
	}
	strip := func(namespace *corev1.Namespace) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespace.Name, ResourceVersion: namespace.ResourceVersion, Annotations: policyOf(namespace, prefix),
		}}
	}
	s := objectcache.NewFilteredStore(keep, strip)
	metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_namespace_policies",
			Help: "Number of Namespaces with a role policy in the cache. If it falls to 0, their annotations were removed or --annotation-prefix is wrong. Their pods may then have any role, unless --role-policy=require is set.",
		}, func() float64 { return float64(s.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_namespaces_synced",
			Help: "1 after all Namespaces of the cluster have been listed, and 0 before. It stays 1 if the watch fails later; see pod_identity_webhook_watch_healthy. If it is 0 for more than some seconds after a start, the Namespaces cannot be listed; see the log.",
		}, func() float64 {
			if s.Health().SyncSignal() {
				return 1
			}
			return 0
		}),
	)
	return s
}
