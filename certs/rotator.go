package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	admissionregistrationv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
)

const (
	// minBackoff and maxBackoff limit the wait before the retry of a failed reconcile.
	minBackoff, maxBackoff = 100 * time.Millisecond, 10 * time.Second
	// reconcileRate and reconcileBurst limit the reconciles per second, because
	// another client may corrupt the Secret or a caBundle after every repair.
	reconcileRate, reconcileBurst = 2, 20
	// resyncInterval is the time between reconciles without a change.
	resyncInterval = time.Minute
	// placeholderLifetime is longer than any cluster takes to start.
	placeholderLifetime = 365 * 24 * time.Hour
)

// RotatorConfig is the configuration of a Rotator.
type RotatorConfig struct {
	// API is the client configuration for the API server.
	API *rest.Config
	// Service is the Service that API servers call.
	Service types.NamespacedName
	// Secret is the name of the Secret, in the namespace of the Service.
	Secret string
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration and
	// of the ValidatingWebhookConfiguration that call the Service.
	WebhookConfiguration string
	// CALifetime and ServingLifetime are how long the certificates are valid. Each
	// certificate is replaced after two thirds of its lifetime. CALifetime must be
	// at least three times ServingLifetime.
	CALifetime, ServingLifetime time.Duration

	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// Now is this machine's clock, time.Now if nil.
	Now func() time.Time
}

// Rotator creates and serves a certificate with its own CA. It stores the CA in a
// Secret that all replicas share, and publishes it in the caBundle of the webhook
// configurations. Each replica signs its own serving certificate, which exists only
// in memory. There is no leader: each replica writes the changes that are due, and a
// write fails if the object has changed since it was read.
type Rotator struct {
	config              RotatorConfig
	secrets             corev1client.SecretInterface
	webhookConfigClient admissionregistrationv1client.AdmissionregistrationV1Interface
	planner             planner
	clock               *clock
	metrics             rotatorMetrics

	queue   workqueue.TypedRateLimitingInterface[struct{}]
	limiter *rate.Limiter
	watches []func(context.Context)

	// Only reconciles use these. lastValid is the last valid content of the Secret.
	// bundles has the CAs that were published in each configuration, by its name.
	// lastError is the last error that was logged.
	lastValid    secretContent
	trustTracker trustTracker
	bundles      map[string][]byte
	lastError    string

	current atomic.Pointer[serving]

	mu sync.Mutex
	// notReady is the error that Valid returns, nil if API servers can call.
	notReady error
}

var errNoCertificate = errors.New("no serving certificate yet")

// NewRotator returns a Rotator that serves a placeholder until Run has created a
// certificate. It returns an error if it cannot create the API clients or the
// placeholder.
func NewRotator(config RotatorConfig) (*Rotator, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	a := &Rotator{
		config:  config,
		planner: newPlanner(config.Service, config.CALifetime, config.ServingLifetime),
		clock:   newClock(config.Logger, config.Now, config.Metrics),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](minBackoff, maxBackoff)),
		limiter:      rate.NewLimiter(reconcileRate, reconcileBurst),
		trustTracker: trustTracker{},
		bundles:      map[string][]byte{},
		notReady:     errNoCertificate,
	}
	api := rest.CopyConfig(config.API)
	api.Wrap(a.clock.wrap)
	core, err := corev1client.NewForConfig(api)
	if err != nil {
		return nil, fmt.Errorf("create client for %s: %w", api.Host, err)
	}
	a.secrets = core.Secrets(config.Service.Namespace)
	if a.webhookConfigClient, err = admissionregistrationv1client.NewForConfig(api); err != nil {
		return nil, fmt.Errorf("create client for %s: %w", api.Host, err)
	}
	interim, err := newPlaceholder(config.Now())
	if err != nil {
		return nil, err
	}
	a.current.Store(interim)
	a.metrics = newRotatorMetrics(config.Metrics, a.expiry)
	a.watch()
	return a, nil
}

// newPlaceholder returns a certificate to serve until there is a signed one. No API
// server trusts it, but probes can connect and report why there is no signed one.
func newPlaceholder(now time.Time) (*serving, error) {
	ca, err := newAuthority(now, placeholderLifetime)
	if err != nil {
		return nil, err
	}
	return &serving{Certificate: &tls.Certificate{
		Certificate: [][]byte{ca.certificate.Raw}, PrivateKey: ca.key, Leaf: ca.certificate,
	}}, nil
}

// GetCertificate returns the current certificate. It has the signature of
// tls.Config.GetCertificate and never returns an error.
func (a *Rotator) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.current.Load().Certificate, nil
}

// Valid returns an error if API servers cannot call the webhook because of its
// certificate.
func (a *Rotator) Valid() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notReady != nil {
		return a.notReady
	}
	if expiry := a.expiry(); !a.clock.now().Before(expiry) {
		return fmt.Errorf("serving certificate expired at %s", expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

func (a *Rotator) expiry() time.Time { return a.current.Load().Leaf.NotAfter }

// Run reconciles the certificates until ctx is done.
func (a *Rotator) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, watch := range a.watches {
		running.Go(func() { watch(ctx) })
	}
	running.Go(func() {
		<-ctx.Done()
		a.queue.ShutDown()
	})
	a.queue.Add(struct{}{})
	for {
		item, stopped := a.queue.Get()
		if stopped {
			break
		}
		a.runReconciler(ctx)
		a.queue.Done(item)
	}
	running.Wait()
}

func (a *Rotator) runReconciler(ctx context.Context) {
	if a.limiter.Wait(ctx) != nil {
		return
	}
	err := a.reconcile(ctx)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		// Another replica wrote first; read its version next.
		a.queue.Add(struct{}{})
	case err != nil:
		a.reportError(ctx, err)
		a.queue.AddRateLimited(struct{}{})
	default:
		a.reportRecovery(ctx)
		a.queue.Forget(struct{}{})
	}
	// Reconcile more often if lifetimes are short. The queue keeps the earlier of two
	// times, so a backoff never delays a renewal.
	a.queue.AddAfter(struct{}{}, min(resyncInterval, a.planner.publishAfter/4))
}

// watch prepares the watches that start a reconcile after each change of the Secret or
// of a webhook configuration.
func (a *Rotator) watch() {
	changed := notifyStore(func() { a.queue.Add(struct{}{}) })
	only := func(name string) string { return fields.OneTermEqualSelector(metav1.ObjectNameField, name).String() }
	configuration := only(a.config.WebhookConfiguration)
	a.watches = []func(context.Context){
		objectcache.Watch(objectcache.WatchConfig[*corev1.SecretList]{
			Name: "certificate-secret", Expected: &corev1.Secret{}, Client: a.secrets,
			FieldSelector: only(a.config.Secret), Store: changed, Failures: a.metrics.errors,
		}),
		objectcache.Watch(objectcache.WatchConfig[*admissionregistrationv1.MutatingWebhookConfigurationList]{
			Name: "mutating-configuration", Expected: &admissionregistrationv1.MutatingWebhookConfiguration{},
			Client:        a.webhookConfigClient.MutatingWebhookConfigurations(),
			FieldSelector: configuration, Store: changed, Failures: a.metrics.errors,
		}),
		objectcache.Watch(objectcache.WatchConfig[*admissionregistrationv1.ValidatingWebhookConfigurationList]{
			Name: "validating-configuration", Expected: &admissionregistrationv1.ValidatingWebhookConfiguration{},
			Client:        a.webhookConfigClient.ValidatingWebhookConfigurations(),
			FieldSelector: configuration, Store: changed, Failures: a.metrics.errors,
		}),
	}
}

// notifyStore is a store that stores nothing and calls a function after each change.
type notifyStore func()

func (c notifyStore) call() error {
	c()
	return nil
}

// Add and the following methods implement cache.ReflectorStore.
func (c notifyStore) Add(any) error               { return c.call() }
func (c notifyStore) Update(any) error            { return c.call() }
func (c notifyStore) Delete(any) error            { return c.call() }
func (c notifyStore) Replace([]any, string) error { return c.call() }
func (c notifyStore) Resync() error               { return nil }

type rotatorMetrics struct {
	rotations, repairs *prometheus.CounterVec
	errors             prometheus.Counter
}

func newRotatorMetrics(metrics prometheus.Registerer, expiry func() time.Time) rotatorMetrics {
	m := rotatorMetrics{
		rotations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_certificate_rotations_total",
			Help: "Number of certificates that this replica created, by kind: ca or serving. Each replica creates its own serving certificates, and one replica creates the CA for all.",
		}, []string{"kind"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_certificate_repairs_total",
			Help: "Number of times this replica restored an object that another client had changed, by object: secret or ca_bundle. A steady rise means that another client, such as a GitOps tool, keeps changing it.",
		}, []string{"object"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pod_identity_webhook_certificate_errors_total",
			Help: "Number of failures to read, watch or write the Secret of the CA or the webhook configurations. A steady rise means that the CA is not replaced before it expires, and that a caBundle is not restored.",
		}),
	}
	for _, kind := range []string{kindCA, kindServing} {
		m.rotations.WithLabelValues(kind)
	}
	for _, object := range []string{repairedSecret, repairedBundle} {
		m.repairs.WithLabelValues(object)
	}
	metrics.MustRegister(m.rotations, m.repairs, m.errors, newExpiry(expiry))
	return m
}
