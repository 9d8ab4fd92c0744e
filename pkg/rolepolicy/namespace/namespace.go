// Package namespace fetches what package rolepolicy reads: it watches the
// namespaces of the cluster, keeps the policies of those that have one and of no
// others, and reads from the API server, live, what it does not know.
package namespace

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
	config  Config
	store   *cluster.Kept[*corev1.Namespace, map[string]string]
	reads   *coalesce.Group[string, map[string]string]
	results *prometheus.CounterVec
	watch   func(context.Context)
}

// New returns Policies that know nothing until Run is called.
func New(config Config) *Policies {
	policy := policyOf(rolepolicy.Annotations(config.Prefix))
	p := &Policies{
		config: config,
		store: cluster.NewKept(policy, func(namespace *corev1.Namespace) *corev1.Namespace {
			kept, _ := policy(namespace)
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: namespace.Name, ResourceVersion: namespace.ResourceVersion, Annotations: kept,
			}}
		}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_namespace_reads_total",
			Help: "Reads of namespaces that were not known to have a policy, by result: success or error. Errors refuse pods, or let them through without identity, by the failurePolicy.",
		}, []string{"result"}),
	}
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_namespace_watch_failures_total",
		Help: "Failed lists and watches of namespaces. A steady rise means that changed policies take effect late.",
	})
	config.Metrics.MustRegister(p.results, failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_namespace_policies",
		Help: "Namespaces known to have a policy about roles. A fall to 0 means that their annotations were removed.",
	}, func() float64 { return float64(p.store.Len()) }))
	p.reads = coalesce.New(p.read)
	p.watch = cluster.Watch("namespaces", &corev1.Namespace{}, config.Client.Namespaces(), "", p.store, failures)
	return p
}

// policyOf returns a function that picks the annotations that make a namespace's
// policy, and says whether there are any.
func policyOf(annotations []string) func(*corev1.Namespace) (map[string]string, bool) {
	return func(namespace *corev1.Namespace) (map[string]string, bool) {
		var policy map[string]string
		for _, annotation := range annotations {
			if value, ok := namespace.Annotations[annotation]; ok {
				if policy == nil {
					policy = map[string]string{}
				}
				policy[annotation] = value
			}
		}
		return policy, policy != nil
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
// A policy that the watch has seen is taken as it was seen, so for some
// milliseconds after a change the one before it holds. A namespace that is not
// known to have one is read from the API server: a first policy holds at once.
func (p *Policies) Permitted(ctx context.Context, namespace, roleARN string) error {
	annotations, ok := p.store.Get(types.NamespacedName{Name: namespace})
	if !ok {
		var err error
		if annotations, err = p.reads.Do(ctx, namespace); err != nil {
			return fmt.Errorf("read namespace %s: %w", namespace, err)
		}
	}
	return rolepolicy.Evaluate(p.config.Mode, p.config.Prefix, namespace, annotations, roleARN)
}

func (p *Policies) read(ctx context.Context, name string) (map[string]string, error) {
	namespace, err := cluster.Read(ctx, p.config.ReadTimeout, func(ctx context.Context) (*corev1.Namespace, error) {
		return p.config.Client.Namespaces().Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		p.results.WithLabelValues("error").Inc()
		return nil, err
	}
	p.results.WithLabelValues("success").Inc()
	return namespace.Annotations, nil
}
