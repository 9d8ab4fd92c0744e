// Package namespace reads the annotations that package rolepolicy evaluates. It gets the
// Namespace of each admission request from the API server, which is a live read. It also
// watches all Namespaces and caches their policies, for use when a live read fails.
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

// errNotSynced is the error of Synced before the first list of Namespaces.
var errNotSynced = errors.New("the namespaces of the cluster have not been listed yet")

// Config configures Policies.
type Config struct {
	Client corev1client.NamespacesGetter
	// Prefix is the webhook's --annotation-prefix.
	Prefix  string
	Mode    rolepolicy.Mode
	Lookup  objectcache.Mode
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// ReadTimeout limits a live read with its retries.
	ReadTimeout time.Duration
}

// Policies decide which roles the pods of a namespace may have. They work only while Run
// runs.
type Policies struct {
	prefix string
	mode   rolepolicy.Mode
	store  *store
	lookup *objectcache.Lookup[policy]
	watch  func(context.Context)
}

// New returns Policies with an empty cache, which Run fills.
func New(config Config) *Policies {
	store := newStore(config.Prefix, config.Metrics)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_namespace_watch_failures_total",
		Help: "Number of failed attempts to list or watch Namespaces. While they fail, the webhook does not use the cache. If the live read for an admission request fails as well, the response is HTTP 500.",
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

// Run watches Namespaces until ctx is done, and then waits for live reads in flight.
func (p *Policies) Run(ctx context.Context) {
	p.watch(ctx)
	p.lookup.Wait()
}

// Synced returns nil after the first list of all Namespaces is complete, and an error
// before.
func (p *Policies) Synced() error {
	if !p.store.Health().SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Healthy returns nil if the cache can be used when a live read fails.
func (p *Policies) Healthy() error { return p.lookup.Healthy() }

// Permitted returns a nil error if the pods of a namespace may have the roles. It returns a
// *rolepolicy.DeniedError if they may not, and any other error if the Namespace cannot be
// read. It gets the Namespace from the API server after the call of Permitted. If that
// fails, it uses the cache and returns true for fromCache.
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
