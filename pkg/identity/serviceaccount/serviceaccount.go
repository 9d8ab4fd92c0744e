// Package serviceaccount gets the identities of ServiceAccounts from their annotations. A live
// read gets the ServiceAccount of an admission request from the API server. The package also
// watches the ServiceAccounts of the cluster and caches the identities of those that have a role.
// The cache is used if a live read fails. The package does not decide which pods are injected.
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

// errNotSynced is the error until the first list of ServiceAccounts is complete.
var errNotSynced = errors.New("ServiceAccounts of the cluster not listed yet")

// Config is the configuration of a Resolver.
type Config struct {
	Client   corev1client.ServiceAccountsGetter
	Defaults identity.Defaults
	Lookup   objectcache.Mode
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
	// ReadTimeout limits the duration of a live read with its retries.
	ReadTimeout time.Duration
}

// Resolver returns the identities of ServiceAccounts. Run must be running.
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
		Help: "Failed attempts to list or watch ServiceAccounts. While they fail, the cache is not used: if a live read fails too, the webhook responds with HTTP 500.",
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

// Run watches ServiceAccounts until ctx is done, and then waits for the live reads in flight.
func (r *Resolver) Run(ctx context.Context) {
	r.watch(ctx)
	r.lookup.Wait()
}

// Identities returns the identities in the cache, indexed by ServiceAccount.
func (r *Resolver) Identities() map[types.NamespacedName]*identity.Identity { return r.store.All() }

// Synced returns nil if the first list of the cluster's ServiceAccounts is complete, and an error
// otherwise.
func (r *Resolver) Synced() error {
	if !r.store.Health().SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Healthy returns nil if the cache can be used when a live read fails, and an error otherwise.
func (r *Resolver) Healthy() error { return r.lookup.Healthy() }

// Resolve returns the identity of a ServiceAccount. It reads the ServiceAccount after the call,
// so it does not miss an earlier write. If the read fails, it returns the identity in the cache,
// with FromCache set. It returns identity.ErrServiceAccountNotFound if the ServiceAccount does
// not exist, and another error if the identity cannot be determined.
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
