// Package serviceaccount fetches what package identity reads: it watches the
// ServiceAccounts of the cluster, keeps the identities of those that have a
// role and of no others, and reads from the API server, live, what it does not
// know. It decides nothing about pods.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/cluster"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/coalesce"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Lookup says what to do about a ServiceAccount that is not known to have a
// role.
type Lookup string

const (
	// LookupLive reads it from the API server. A role annotated a moment ago,
	// or a ServiceAccount created a moment ago, is never missed.
	LookupLive Lookup = "live"
	// LookupCached takes the watch's word for it, which is a few milliseconds
	// old: it costs no reads, and misses what was written within them.
	LookupCached Lookup = "cached"
)

// errNotSynced is returned while nothing is known yet.
var errNotSynced = errors.New("the ServiceAccounts of the cluster are not known yet")

// Config is what a Resolver needs.
type Config struct {
	Client   corev1client.ServiceAccountsGetter
	Defaults identity.Defaults
	Lookup   Lookup
	Metrics  prometheus.Registerer
	// ReadTimeout bounds one live read with its retries.
	ReadTimeout time.Duration
}

// Resolver answers which identity a ServiceAccount has. Run must be running.
type Resolver struct {
	store  *store
	reads  *coalesce.Group[types.NamespacedName, *identity.Identity]
	lookup Lookup
	watch  func(context.Context)
	// none is the identity of a ServiceAccount that says nothing.
	none *identity.Identity
}

// New returns a Resolver that knows nothing until Run is called.
func New(config Config) *Resolver {
	store := newStore(config.Defaults, config.Metrics)
	reader := newReader(config)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_service_account_watch_failures_total",
		Help: "Failed lists and watches of ServiceAccounts. A steady rise means that new and changed roles are seen only by live reads.",
	})
	config.Metrics.MustRegister(failures)
	accounts := config.Client.ServiceAccounts(metav1.NamespaceAll)
	return &Resolver{
		store:  store,
		reads:  coalesce.New(reader.read),
		lookup: config.Lookup,
		watch:  cluster.Watch("serviceaccounts", &corev1.ServiceAccount{}, accounts, "", store, failures),
		none:   identity.FromAnnotations(nil, config.Defaults),
	}
}

// Run watches until ctx is done, and then waits for the live reads under way.
func (r *Resolver) Run(ctx context.Context) {
	r.watch(ctx)
	r.reads.Wait()
}

// Identities returns those that the watch knows now.
func (r *Resolver) Identities() map[types.NamespacedName]*identity.Identity { return r.store.All() }

// Synced returns nil once all ServiceAccounts of the cluster have been seen.
func (r *Resolver) Synced() error {
	if !r.store.Synced().Is() {
		return errNotSynced
	}
	return nil
}

// Resolve returns the identity of a ServiceAccount, which is not Granted if it
// has no role. The error is identity.ErrServiceAccountNotFound if there is no
// such ServiceAccount (with LookupLive), and any other error if that cannot be
// known before ctx is done.
//
// A role that the watch has seen is answered at once. Anything else is read
// from the API server by a read that begins after Resolve was called, so that
// what was written before the call is never missed.
func (r *Resolver) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	if known, ok := r.store.Get(name); ok {
		return known, nil
	}
	if r.lookup == LookupCached {
		return r.resolveCached(ctx, name)
	}
	found, err := r.reads.Do(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read ServiceAccount %s: %w", name, err)
	}
	return found, nil
}

func (r *Resolver) resolveCached(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	select {
	case <-r.store.Synced().Done():
		if known, ok := r.store.Get(name); ok {
			return known, nil
		}
		return r.none, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("look up ServiceAccount %s: %w: %w", name, errNotSynced, ctx.Err())
	}
}
