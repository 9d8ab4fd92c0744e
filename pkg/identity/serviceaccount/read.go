package serviceaccount

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// retryInterval is short: a pod waits. Reads of one ServiceAccount are never
// more than one at a time, so this is no storm.
const retryInterval = 100 * time.Millisecond

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

// read asks until it has an answer or its time is up: an API server that
// restarts, or one of several that is gone, should not cost a pod its identity.
func (r *reader) read(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()

	var found *identity.Identity
	var lastErr error
	err := wait.PollUntilContextCancel(ctx, retryInterval, true, func(ctx context.Context) (bool, error) {
		// No resourceVersion: the read is a quorum read, not one of a cache
		// that may lag behind.
		account, err := r.client.ServiceAccounts(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
		switch {
		case err == nil:
			found = identity.FromAnnotations(account.Annotations, r.defaults)
			return true, nil
		case apierrors.IsNotFound(err):
			return false, identity.ErrServiceAccountNotFound
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return false, err
		default:
			// At the deadline the client's error is of the deadline, and the one
			// before is of the cause.
			if lastErr == nil || ctx.Err() == nil {
				lastErr = err
			}
			return false, nil
		}
	})
	if wait.Interrupted(err) && lastErr != nil {
		err = lastErr
	}
	r.results.WithLabelValues(result(found, err)).Inc()
	return found, err
}

func result(found *identity.Identity, err error) string {
	switch {
	case errors.Is(err, identity.ErrServiceAccountNotFound):
		return "not_found"
	case err != nil:
		return "error"
	case found == nil:
		return "no_role"
	default:
		return "role"
	}
}
