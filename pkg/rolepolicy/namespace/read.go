package namespace

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// reader gets the policies of namespaces from the API server.
type reader struct {
	client  corev1client.NamespacesGetter
	prefix  string
	results *prometheus.CounterVec
}

func newReader(config Config) *reader {
	r := &reader{
		client: config.Client,
		prefix: config.Prefix,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_namespace_reads_total",
			Help: "Number of attempts to get a Namespace from the API server for its role policy, by result: policy, no_policy, error. After an error other than HTTP 401, 403 and 404 the webhook tries again. After an error other than HTTP 404 it then uses the cache if the watch is healthy. Otherwise the response is HTTP 500.",
		}, []string{"result"}),
	}
	config.Metrics.MustRegister(r.results)
	for _, result := range []string{"policy", "no_policy", "error"} {
		r.results.WithLabelValues(result)
	}
	return r
}

// read gets the policy of a Namespace. The request has no resourceVersion, so the API server
// does not respond from a stale cache. It returns an error if the Namespace does not exist.
func (r *reader) read(ctx context.Context, name types.NamespacedName) (policy, error) {
	namespace, err := r.client.Namespaces().Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		r.results.WithLabelValues("error").Inc()
		return nil, err
	}
	found := policyOf(namespace, r.prefix)
	if found == nil {
		r.results.WithLabelValues("no_policy").Inc()
	} else {
		r.results.WithLabelValues("policy").Inc()
	}
	return found, nil
}
