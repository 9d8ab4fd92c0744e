// Package namespace fetches what package rolepolicy reads: it reads the Namespace
// of each admission from the API server, live. It also watches the Namespaces of
// the cluster and caches the policies of those that have one, for when a live read
// fails. It decides nothing about roles.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
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
	Lookup  objectcache.Mode
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// ReadTimeout bounds one live read with its retries.
	ReadTimeout time.Duration
}

// Policies say which roles the pods of a namespace may have. Run must be running.
type Policies struct {
	prefix string
	mode   rolepolicy.Mode
	store  *store
	lookup *objectcache.Lookup[policy]
	watch  func(context.Context)
}

// New returns Policies whose cache is empty until Run is called.
func New(config Config) *Policies {
	store := newStore(config.Prefix, config.Metrics)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_namespace_watch_failures_total",
		Help: "Failed attempts to list or watch Namespaces. While they fail, the cache is not used: an admission whose live read fails as well is answered with HTTP 500.",
	})
	config.Metrics.MustRegister(failures)
	return &Policies{
		prefix: config.Prefix,
		mode:   config.Mode,
		store:  store,
		lookup: objectcache.NewLookup(objectcache.LookupConfig[policy]{
			Resource:     "namespaces",
			Mode:         config.Lookup,
			GetWithRetry: newReader(config).read,
			Cached: func(name types.NamespacedName) policy {
				cached, _ := store.Get(name)
				return cached
			},
			Health:      store.Health(),
			ReadTimeout: config.ReadTimeout,
			Logger:      config.Logger,
			Metrics:     config.Metrics,
		}),
		watch: objectcache.Watch(objectcache.WatchConfig[*corev1.NamespaceList]{
			Name:     "namespaces",
			Expected: &corev1.Namespace{},
			Client:   config.Client.Namespaces(),
			Store:    store,
			Health:   store.Health(),
			Failures: failures,
			Metrics:  config.Metrics,
			Logger:   config.Logger,
		}),
	}
}

// Run watches until ctx is done, and then waits for the live reads in flight.
func (p *Policies) Run(ctx context.Context) {
	p.watch(ctx)
	p.lookup.Wait()
}

// Synced returns nil once all namespaces of the cluster have been seen.
func (p *Policies) Synced() error {
	if !p.store.Health().SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Healthy returns nil if the cache can be used when a live read fails.
func (p *Policies) Healthy() error { return p.lookup.Healthy() }

// Permitted returns nil if the pods of a namespace may have the roles, a
// *rolepolicy.DeniedError if not, and any other error if that cannot be known. It
// decides by the Namespace as of a moment after Permitted was called, or, if that
// cannot be read, as the watch knows it: fromCache is then true.
func (p *Policies) Permitted(ctx context.Context, namespace string, roleARNs []string) (fromCache bool, err error) {
	annotations, fromCache, err := p.lookup.Get(ctx, types.NamespacedName{Name: namespace})
	if err != nil {
		return false, fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	for _, roleARN := range roleARNs {
		if err := rolepolicy.Evaluate(p.mode, p.prefix, namespace, annotations, roleARN); err != nil {
			return fromCache, err
		}
	}
	return fromCache, nil
}
