package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Outcomes of an admission request, for metrics.
const (
	outcomeMutated   = "mutated"
	outcomeUnchanged = "unchanged"
	outcomeDenied    = "denied"
	outcomeError     = "error"
)

// metrics are the metrics of admission requests. Their labels have few values;
// namespaces and pods are only in the log.
type metrics struct {
	admissions *prometheus.CounterVec
	duration   prometheus.Histogram
	panics     prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		admissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_admissions_total",
			Help: "Number of admission requests by outcome (mutated, unchanged, denied, error) and reason. After an error, the API server rejects the pod or creates it without an identity, depending on the failurePolicy.",
		}, []string{"outcome", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pod_identity_webhook_admission_duration_seconds",
			Help:    "Time in seconds from receiving the request header to sending the admission response. Pod creation waits for it; the API server gives up after the timeoutSeconds of the webhook configuration.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pod_identity_webhook_panics_total",
			Help: "Number of requests whose handler panicked. If it is not 0, there is a bug: please report it with the stack from the log.",
		}),
	}
	registry.MustRegister(m.admissions, m.duration, m.panics)
	return m
}

func (m *metrics) observe(took time.Duration, answer Decision, err *httperror.Error) {
	m.duration.Observe(took.Seconds())
	outcome, reason := outcomeUnchanged, answer.Reason
	switch {
	case err != nil:
		outcome, reason = outcomeError, inject.Reason(err.Reason)
	case !answer.Response.Allowed:
		outcome = outcomeDenied
	case answer.Response.Patch != nil:
		outcome = outcomeMutated
	}
	m.count(outcome, reason)
}

func (m *metrics) count(outcome string, reason inject.Reason) {
	m.admissions.WithLabelValues(outcome, string(reason)).Inc()
}
