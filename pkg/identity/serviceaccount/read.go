package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/cluster"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

// reader reads one ServiceAccount from the API server.
type reader struct {
	client   corev1client.ServiceAccountsGetter
	defaults identity.Defaults
	timeout  time.Duration
	results  *prometheus.CounterVec
}

func newReader(config Config) *reader {
	r := &reader{
		client:   config.Client,
		defaults: config.Defaults,
		timeout:  config.ReadTimeout,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_live_reads_total",
			Help: "Reads of ServiceAccounts that were not known to have a role, by result: role, no_role, not_found, error. Errors refuse pods, or let them through without identity, by the failurePolicy.",
		}, []string{"result"}),
	}
	config.Metrics.MustRegister(r.results)
	for _, result := range []string{"role", "no_role", "not_found", "error"} {
		r.results.WithLabelValues(result)
	}
	return r
}

// read reads a ServiceAccount from the API server, and not from its caches: no
// resourceVersion is asked for.
func (r *reader) read(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	account, err := cluster.Read(ctx, r.timeout, func(ctx context.Context) (*corev1.ServiceAccount, error) {
		return r.client.ServiceAccounts(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	})
	var found *identity.Identity
	switch {
	case err == nil:
		found = r.identify(account.Annotations)
	case apierrors.IsNotFound(err):
		err = identity.ErrServiceAccountNotFound
	}
	r.results.WithLabelValues(result(found, err)).Inc()
	return found, err
}

// identify returns the identity that annotations grant. If they grant none, near
// misses are told: who writes a pod should hear of them.
func (r *reader) identify(annotations map[string]string) *identity.Identity {
	id := identity.FromAnnotations(annotations, r.defaults)
	if id.Granted() {
		return id
	}
	for _, finding := range lint.Misspelt(annotations, r.defaults.AnnotationPrefix) {
		id.Problems = append(id.Problems, identity.Problem{
			Annotation: finding.Annotation, Value: annotations[finding.Annotation],
			Fault: "is not read", Used: fmt.Sprintf("did you mean %s?", finding.Meant),
		})
	}
	return id
}

func result(found *identity.Identity, err error) string {
	switch {
	case errors.Is(err, identity.ErrServiceAccountNotFound):
		return "not_found"
	case err != nil:
		return "error"
	case !found.Granted():
		return "no_role"
	default:
		return "role"
	}
}
