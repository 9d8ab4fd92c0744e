package webhook

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// referenceMetrics are metrics of amazon-eks-pod-identity-webhook that dashboards use,
// with the same names.
type referenceMetrics struct {
	pods    *prometheus.CounterVec
	missing prometheus.Counter
	used    prometheus.Gauge
}

func newReferenceMetrics(registry prometheus.Registerer) *referenceMetrics {
	m := &referenceMetrics{
		pods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_pod_count",
			Help: "Number of pods that got an identity, by method: sts_web_identity or container_credentials.",
		}, []string{"method"}),
		missing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pod_identity_webhook_missing_sa_count",
			Help: "Number of pods whose ServiceAccount did not exist.",
		}),
		used: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_used",
			Help: "1 if a pod has got an identity since the start of the process, else 0.",
		}),
	}
	registry.MustRegister(m.pods, m.missing, m.used)
	for _, method := range []identity.Method{identity.WebIdentity, identity.ContainerCredentials} {
		m.pods.WithLabelValues(string(method))
	}
	return m
}

func (m *referenceMetrics) count(id *identity.Identity, result inject.Result) {
	switch {
	case result.Reason == inject.ServiceAccountNotFound:
		m.missing.Inc()
	case result.Patch != nil:
		m.pods.WithLabelValues(string(id.Method)).Inc()
		m.used.Set(1)
	}
}
