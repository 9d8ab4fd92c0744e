package objectcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// maxSilence is the time without any event after which a watch is not healthy. API
// servers send a bookmark to each watch about once a minute, also if no object changes
// (defaultBookmarkFrequency in k8s.io/apiserver/pkg/storage/cacher). After maxSilence,
// two bookmarks are missing.
//
// After its start, an API server 1.30 sends no bookmarks at first. It waits for the first
// event of the resource or the first progress notification of etcd (k8s.io/apiserver
// v0.30.14, dispatchEvents in cacher.go). Until then an idle watch is not healthy, because the
// webhook cannot distinguish it from one that hangs.
const maxSilence = 2 * time.Minute

// healthLogInterval is the minimum time between two log lines about the health of a
// watch. A watch that is healthy again within that time is not logged.
const healthLogInterval = 10 * time.Second

// errNotSynced is the error of a watch whose first list is not complete.
var errNotSynced = errors.New("the first list is not complete")

// Health is the state of a watch, which decides whether the store that it fills can be
// used. Its methods may be called concurrently.
type Health struct {
	now    func() time.Time
	synced chan struct{}

	mu sync.Mutex
	// failure is the error of the last attempt to list or watch, or nil.
	failure error
	// lastSign is when the last list, event or bookmark arrived.
	lastSign time.Time
}

// NewHealth returns the Health of a watch that has not started.
func NewHealth() *Health { return &Health{now: time.Now, synced: make(chan struct{})} }

// Replaced records that the store holds a complete list.
func (h *Health) Replaced() {
	h.succeeded()
	select {
	case <-h.synced:
	default:
		close(h.synced)
	}
}

// Done returns a channel that is closed when the first list is complete.
func (h *Health) Done() <-chan struct{} { return h.synced }

// SyncSignal reports whether the first list is complete. Once true, it stays true.
func (h *Health) SyncSignal() bool {
	select {
	case <-h.synced:
		return true
	default:
		return false
	}
}

// Err returns an error unless the watch is healthy, which needs three conditions:
//   - The first list is complete.
//   - The last attempt to list or watch succeeded.
//   - A list, an event or a bookmark arrived within maxSilence.
func (h *Health) Err() error {
	if !h.SyncSignal() {
		return errNotSynced
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failure != nil {
		return fmt.Errorf("the watch failed: %w", h.failure)
	}
	if silence := h.now().Sub(h.lastSign); silence > maxSilence {
		return fmt.Errorf("the watch has received nothing for %s", silence.Round(time.Second))
	}
	return nil
}

// failed records that an attempt to list or watch failed, or that a watch ended
// with an error.
func (h *Health) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = err
}

// watching records that a watch started at the version of the store's content.
func (h *Health) watching() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = nil
}

// succeeded records a complete list.
func (h *Health) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = nil
	h.lastSign = h.now()
}

// received records an event of a watch. Do not call it for the objects of a list that is
// still being streamed, because the store does not hold them yet.
func (h *Health) received(event watch.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if event.Type == watch.Error {
		h.failure = apierrors.FromObject(event.Object)
		return
	}
	h.lastSign = h.now()
}

// log logs a line with the reason when the watch becomes unhealthy, and one when it is
// healthy again, until ctx is done. Silence has no event, so log checks once per
// healthLogInterval, which also limits the number of lines. client-go logs the errors
// before the first list is complete.
func (h *Health) log(ctx context.Context, logger *slog.Logger, resource string) {
	ticker := time.NewTicker(healthLogInterval)
	defer ticker.Stop()
	for healthy := true; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := h.Err()
		if errors.Is(err, errNotSynced) || (err == nil) == healthy {
			continue
		}
		healthy = err == nil
		if healthy {
			logger.InfoContext(ctx, "Watch is healthy again", "resource", resource)
		} else {
			logger.WarnContext(ctx, "Watch is not healthy", "resource", resource, "error", err)
		}
	}
}

// streamsList reports whether a watch begins with a list. Its store is not up to date
// before that list is complete.
func streamsList(options metav1.ListOptions) bool {
	return options.SendInitialEvents != nil && *options.SendInitialEvents
}

// newHealthGauge returns a metric of the health of the watch of a resource.
func newHealthGauge(resource string, health *Health) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "pod_identity_webhook_watch_healthy",
		Help:        "1 if the watch of the resource is healthy, else 0. A watch is healthy if the first list is complete, the last attempt to list or watch succeeded, and an event or bookmark arrived within two minutes. While it is 0, the webhook answers admission requests whose live read fails with HTTP 500.",
		ConstLabels: prometheus.Labels{"resource": resource},
	}, func() float64 {
		if health.Err() != nil {
			return 0
		}
		return 1
	})
}
