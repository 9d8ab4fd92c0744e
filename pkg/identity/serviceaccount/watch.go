package serviceaccount

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// newWatch returns a function that keeps store up to date with the cluster
// until its context is done. It outlives every failure of the API server; what
// was known stays known meanwhile.
func newWatch(config Config, store *store) func(context.Context) {
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_service_account_watch_failures_total",
		Help: "Failed lists and watches of ServiceAccounts. A steady rise means that new and changed roles are seen only by live reads.",
	})
	config.Metrics.MustRegister(failures)

	counted := func(err error) error {
		if err != nil {
			failures.Inc()
		}
		return err
	}

	accounts := config.Client.ServiceAccounts(metav1.NamespaceAll)
	reflector := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := accounts.List(ctx, options)
			return list, counted(err)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			events, err := accounts.Watch(ctx, options)
			return events, counted(err)
		},
	}, &corev1.ServiceAccount{}, store, cache.ReflectorOptions{Name: "serviceaccounts"})
	return reflector.RunWithContext
}
