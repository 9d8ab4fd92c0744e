package namespace

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// policy is those annotations of a namespace that rolepolicy reads, nil if it
// has none. Nothing changes it once it is made, so it may be shared.
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
			Help: "Namespaces with a policy about roles in the cache. A fall to 0 means that their annotations were removed, or that --annotation-prefix is wrong: unless --role-policy=require, their pods may have any role.",
		}, func() float64 { return float64(s.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_namespaces_synced",
			Help: "1 once all namespaces of the cluster have been listed; it stays 1 if the watch fails later, see pod_identity_webhook_watch_healthy. 0 for more than some seconds after a start means that they cannot be listed: see the log.",
		}, func() float64 {
			if s.Health().SyncSignal() {
				return 1
			}
			return 0
		}),
	)
	return s
}
