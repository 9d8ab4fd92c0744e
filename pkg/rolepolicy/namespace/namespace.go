// Package namespace fetches what package rolepolicy reads: it watches the
// namespaces of the cluster, keeps the policies of those that have one and of no
// others, and reads from the API server, live, what it does not know. It decides
// nothing about roles.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/cluster"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/coalesce"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// errNotSynced is returned while nothing is known yet.
var errNotSynced = errors.New("the namespaces of the cluster are not known yet")

// Config is what Policies need.
type Config struct {
	Client corev1client.NamespacesGetter
	// Prefix is that of our annotations.
	Prefix  string
	Mode    rolepolicy.Mode
	Metrics prometheus.Registerer
	// ReadTimeout bounds one live read with its retries.
	ReadTimeout time.Duration
}

// Policies say which roles the pods of a namespace may have. Run must be running.
type Policies struct {
	prefix string
	mode   rolepolicy.Mode
	store  *store
	reads  *coalesce.Group[string, policy]
	watch  func(context.Context)
}

// New returns Policies that know nothing until Run is called.
func New(config Config) *Policies {
	store := newStore(config.Prefix, config.Metrics)
	reader := newReader(config)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_namespace_watch_failures_total",
		Help: "Failed lists and watches of namespaces. A steady rise means that changes of policies about roles have no effect until it ends.",
	})
	config.Metrics.MustRegister(failures)
	return &Policies{
		prefix: config.Prefix,
		mode:   config.Mode,
		store:  store,
		reads:  coalesce.New(reader.read),
		watch:  cluster.Watch("namespaces", &corev1.Namespace{}, config.Client.Namespaces(), "", store, failures),
	}
}

// Run watches until ctx is done, and then waits for the live reads under way.
func (p *Policies) Run(ctx context.Context) {
	p.watch(ctx)
	p.reads.Wait()
}

// Synced returns nil once all namespaces of the cluster have been seen.
func (p *Policies) Synced() error {
	if !p.store.Synced().Is() {
		return errNotSynced
	}
	return nil
}

// Permitted returns nil if the pods of a namespace may have a role, a
// *rolepolicy.DeniedError if not, and any other error if that cannot be known
// before ctx is done.
//
// A policy that the watch has seen is answered from memory. So one that was
// changed or removed milliseconds ago, or while the watch fails, may still
// decide: for that long a role is permitted that no longer is, or denied that
// now is. No change that races with a pod has a better guarantee, and it
// spares most pods a read. Any other namespace is read from the API server by a
// read that begins after Permitted was called, so that a namespace is never
// without its first policy.
func (p *Policies) Permitted(ctx context.Context, namespace, roleARN string) error {
	annotations, known := p.store.Get(types.NamespacedName{Name: namespace})
	if !known {
		var err error
		if annotations, err = p.reads.Do(ctx, namespace); err != nil {
			return fmt.Errorf("read namespace %s: %w", namespace, err)
		}
	}
	return rolepolicy.Evaluate(p.mode, p.prefix, namespace, annotations, roleARN)
}
