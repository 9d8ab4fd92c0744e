package namespace

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/cluster"
)

// reader reads the policy of one namespace from the API server.
type reader struct {
	client  corev1client.NamespacesGetter
	prefix  string
	timeout time.Duration
	results *prometheus.CounterVec
}

func newReader(config Config) *reader {
	r := &reader{
		client:  config.Client,
		prefix:  config.Prefix,
		timeout: config.ReadTimeout,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_namespace_reads_total",
			Help: "Reads of namespaces that were not known to have a policy about roles, by result: policy, no_policy, error. Errors refuse pods, or let them through without identity, by the failurePolicy.",
		}, []string{"result"}),
	}
	config.Metrics.MustRegister(r.results)
	for _, result := range []string{"policy", "no_policy", "error"} {
		r.results.WithLabelValues(result)
	}
	return r
}

// read reads a namespace from the API server, and not from its caches: no
// resourceVersion is asked for. A namespace that is not there is an error, and
// not one without a policy.
func (r *reader) read(ctx context.Context, name string) (policy, error) {
	namespace, err := cluster.Read(ctx, r.timeout, func(ctx context.Context) (*corev1.Namespace, error) {
		return r.client.Namespaces().Get(ctx, name, metav1.GetOptions{})
	})
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
