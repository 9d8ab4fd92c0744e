package serviceaccount

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

// reader reads one ServiceAccount from the API server.
type reader struct {
	client   corev1client.ServiceAccountsGetter
	defaults identity.Defaults
	results  *prometheus.CounterVec
}

func newReader(config Config) *reader {
	r := &reader{
		client:   config.Client,
		defaults: config.Defaults,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_live_reads_total",
			Help: "Attempts to get a ServiceAccount from the API server, by result: role, no_role, not_found, error. After an error the webhook retries, except after HTTP 401 and 403. If it still fails, the webhook uses the cache if the watch is healthy, and otherwise responds with HTTP 500.",
		}, []string{"result"}),
	}
	config.Metrics.MustRegister(r.results)
	for _, result := range []string{"role", "no_role", "not_found", "error"} {
		r.results.WithLabelValues(result)
	}
	return r
}

// read gets the identity of a ServiceAccount from the API server. The request has no
// resourceVersion, so the API server does not use its watch cache.
func (r *reader) read(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	account, err := r.client.ServiceAccounts(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	var found *identity.Identity
	if err == nil {
		found = r.identityFrom(account.Annotations)
	}
	r.results.WithLabelValues(readResult(found, err, name.Name)).Inc()
	return found, err
}

// identityFrom returns the identity in annotations. If there is none, it adds warnings about
// misspelled annotations, for the user who creates the pod.
func (r *reader) identityFrom(annotations map[string]string) *identity.Identity {
	id := identity.FromAnnotations(annotations, r.defaults)
	if id.IsSet() {
		return id
	}
	for _, finding := range lint.Misspelled(annotations, r.defaults.AnnotationPrefix) {
		id.Problems = append(id.Problems, identity.AnnotationWarning{
			Annotation: finding.Annotation, Value: annotations[finding.Annotation],
			Message: "is not read", Fallback: fmt.Sprintf("did you mean %s?", finding.SuggestedKey),
		})
	}
	return id
}

// readResult returns the value of the label result.
func readResult(found *identity.Identity, err error, name string) string {
	switch {
	case objectcache.IsNotFound(err, name):
		return "not_found"
	case err != nil:
		return "error"
	case !found.IsSet():
		return "no_role"
	default:
		return "role"
	}
}
