// Package serviceaccount fetches what package identity reads: it reads the
// ServiceAccount of each admission from the API server, live. It also watches the
// ServiceAccounts of the cluster and caches the identities of those that have a
// role, for when a live read fails. It decides nothing about pods.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// errNotSynced is returned while nothing is known yet.
var errNotSynced = errors.New("the ServiceAccounts of the cluster are not known yet")

// Config is what a Resolver needs.
type Config struct {
	Client   corev1client.ServiceAccountsGetter
	Defaults identity.Defaults
	Lookup   objectcache.Mode
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
	// ReadTimeout bounds one live read with its retries.
	ReadTimeout time.Duration
}

// Resolver answers which identity a ServiceAccount has. Run must be running.
type Resolver struct {
	store  *store
	lookup *objectcache.Lookup[*identity.Identity]
	watch  func(context.Context)
}

// New returns a Resolver whose cache is empty until Run is called.
func New(config Config) *Resolver {
	store := newStore(config.Defaults, config.Metrics)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_service_account_watch_failures_total",
		Help: "Failed attempts to list or watch ServiceAccounts. While they fail, the cache is not used: an admission whose live read fails as well is answered with HTTP 500.",
	})
	config.Metrics.MustRegister(failures)
	none := identity.FromAnnotations(nil, config.Defaults)
	none.FromCache = true
	return &Resolver{
		store: store,
		lookup: objectcache.NewLookup(objectcache.LookupConfig[*identity.Identity]{
			Resource:     "serviceaccounts",
			Mode:         config.Lookup,
			GetWithRetry: newReader(config).read,
			Cached: func(name types.NamespacedName) *identity.Identity {
				if cached, ok := store.Get(name); ok {
					return cached
				}
				return none
			},
			Health:      store.Health(),
			ReadTimeout: config.ReadTimeout,
			Logger:      config.Logger,
			Metrics:     config.Metrics,
		}),
		watch: objectcache.Watch(objectcache.WatchConfig[*corev1.ServiceAccountList]{
			Name:     "serviceaccounts",
			Expected: &corev1.ServiceAccount{},
			Client:   config.Client.ServiceAccounts(metav1.NamespaceAll),
			Store:    store,
			Health:   store.Health(),
			Failures: failures,
			Metrics:  config.Metrics,
			Logger:   config.Logger,
		}),
	}
}

// Run watches until ctx is done, and then waits for the live reads in flight.
func (r *Resolver) Run(ctx context.Context) {
	r.watch(ctx)
	r.lookup.Wait()
}

// Identities returns the identities in the cache, by ServiceAccount.
func (r *Resolver) Identities() map[types.NamespacedName]*identity.Identity { return r.store.All() }

// Synced returns nil once all ServiceAccounts of the cluster have been seen.
func (r *Resolver) Synced() error {
	if !r.store.Health().SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Healthy returns nil if the cache can be used when a live read fails.
func (r *Resolver) Healthy() error { return r.lookup.Healthy() }

// Resolve returns the identity of a ServiceAccount as of a moment after Resolve was
// called, or, if that cannot be read, as the watch knows it: FromCache is then set.
// The error is identity.ErrServiceAccountNotFound if there is no such
// ServiceAccount, any other error if its identity cannot be known.
func (r *Resolver) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	found, _, err := r.lookup.Get(ctx, name)
	switch {
	case err == nil:
		return found, nil
	case objectcache.IsNotFound(err, name.Name):
		return nil, identity.ErrServiceAccountNotFound
	default:
		return nil, fmt.Errorf("get ServiceAccount %s: %w", name, err)
	}
}
