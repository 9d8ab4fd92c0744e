package objectcache

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// Mode is the condition on which a Lookup reads from the API server.
type Mode string

const (
	// Live reads for every lookup, so that results are never stale.
	Live Mode = "live"
	// Cached reads only while the watch is not healthy. A lookup may miss a write of
	// the last milliseconds.
	Cached Mode = "cached"
)

const (
	// budgetShare divides the remaining time of a request. A live read may take a
	// third of it, so that the API server does not time out. The rest is for the
	// fallback, for a second read of another object, and for the response.
	budgetShare = 3
	// defaultBudget applies to a context without a deadline. The default timeoutSeconds
	// of a webhook configuration is 10.
	defaultBudget = 10 * time.Second / budgetShare
	// logInterval is the minimum time between two log lines of one kind. The metrics
	// count every event.
	logInterval = 10 * time.Second
)

// LookupConfig is the configuration of a Lookup.
type LookupConfig[Value any] struct {
	// Resource is the plural name, such as "serviceaccounts", for logs and metrics.
	Resource string
	Mode     Mode
	// GetWithRetry reads one object from the API server, not from a cache. It is called
	// with a deadline. It is called again after an error, unless the object does not
	// exist or may not be read.
	GetWithRetry func(context.Context, types.NamespacedName) (Value, error)
	// Cached returns the value of an object in the watch's cache.
	Cached func(types.NamespacedName) Value
	// Health is the health of the watch.
	Health *Health
	// ReadTimeout is the timeout of one shared read with its retries.
	ReadTimeout time.Duration
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Lookup returns values of objects of the cluster. It reads the object from the API
// server after Get is called. If that fails and the watch is healthy, it returns the
// value from the watch's cache.
type Lookup[Value any] struct {
	config    LookupConfig[Value]
	reads     *coalescer[types.NamespacedName, Value]
	fallbacks prometheus.Counter
	panics    prometheus.Counter
	log       rate.Sometimes
	panicLog  rate.Sometimes
}

// NewLookup returns a Lookup. Wait must be called after its last use.
func NewLookup[Value any](config LookupConfig[Value]) *Lookup[Value] {
	l := &Lookup[Value]{
		config: config,
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "pod_identity_webhook_cache_fallbacks_total",
			Help:        "Number of lookups of the resource that used the cache because the live read failed while the watch was healthy. If it rises, the API server is slow or fails, or the webhook has no permission to get the resource.",
			ConstLabels: prometheus.Labels{"resource": config.Resource},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "pod_identity_webhook_live_read_panics_total",
			Help:        "Number of live reads of the resource that panicked. If it is not 0, there is a bug: please report it with the stack from the log.",
			ConstLabels: prometheus.Labels{"resource": config.Resource},
		}),
		log:      rate.Sometimes{Interval: logInterval},
		panicLog: rate.Sometimes{Interval: logInterval},
	}
	l.reads = newCoalescer(func(ctx context.Context, name types.NamespacedName) (Value, error) {
		return read(ctx, l.config.ReadTimeout, name.Name, func(ctx context.Context) (Value, error) { return config.GetWithRetry(ctx, name) })
	}, l.panicked)
	config.Metrics.MustRegister(l.fallbacks, l.panics)
	return l
}

// Wait waits for the reads in flight.
func (l *Lookup[Value]) Wait() { l.reads.Wait() }

// Healthy returns an error if the cache cannot be used when a live read fails. Any client
// can see the error, so it does not contain the reason; Watch logs the reason.
func (l *Lookup[Value]) Healthy() error {
	if l.config.Health.Err() != nil {
		return fmt.Errorf("watch of %s is not healthy, only live reads are used; see the log for the reason", l.config.Resource)
	}
	return nil
}

// Get returns the value of an object, and whether the value comes from the cache. It
// returns the error of the live read if the object does not exist, or if the watch is
// not healthy either.
func (l *Lookup[Value]) Get(ctx context.Context, name types.NamespacedName) (value Value, cached bool, err error) {
	if l.config.Mode == Cached && l.config.Health.Err() == nil {
		return l.config.Cached(name), true, nil
	}
	value, err = l.read(ctx, name)
	if err == nil || IsNotFound(err, name.Name) {
		return value, false, err
	}
	if unhealthy := l.config.Health.Err(); unhealthy != nil {
		return value, false, fmt.Errorf("%w; the cache cannot be used either: %w", err, unhealthy)
	}
	l.fallbacks.Inc()
	l.log.Do(func() {
		l.config.Logger.WarnContext(ctx, "Live read failed, used the cache",
			"resource", l.config.Resource, "namespace", name.Namespace, "name", name.Name, "error", err)
	})
	return l.config.Cached(name), true, nil
}

// panicked counts and logs a panic of a read.
func (l *Lookup[Value]) panicked(ctx context.Context, value any) {
	l.panics.Inc()
	l.panicLog.Do(func() {
		// The value of the panic may quote the object. Its type and the stack are
		// enough for debugging.
		l.config.Logger.ErrorContext(ctx, "Live read panicked, please report it",
			"resource", l.config.Resource, "panic", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
	})
}

// read returns the result of a shared read. It returns an error if the result does not
// arrive within the budget of the request.
func (l *Lookup[Value]) read(ctx context.Context, name types.NamespacedName) (Value, error) {
	budget := defaultBudget
	if deadline, ok := ctx.Deadline(); ok {
		budget = time.Until(deadline) / budgetShare
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	return l.reads.Do(ctx, name)
}
