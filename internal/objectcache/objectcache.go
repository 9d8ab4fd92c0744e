// Package objectcache gets objects of the cluster. A Lookup reads an object from the API
// server for each lookup, and shares concurrent reads of the same object. A Watch fills a
// store, such as a FilteredStore, which stores a value only for some objects. The package
// does not depend on the meaning of the objects.
package objectcache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Client lists and watches the objects of one resource.
type Client[List runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (List, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// WatchConfig is the configuration of a Watch.
type WatchConfig[List runtime.Object] struct {
	// Name is the resource, such as "serviceaccounts", for logs and metrics.
	Name string
	// Expected is an empty object of the resource.
	Expected runtime.Object
	Client   Client[List]
	// FieldSelector limits the objects; empty for all.
	FieldSelector string
	Store         cache.ReflectorStore
	// Health is the Health on which Store calls Replaced; nil if it is not used.
	Health *Health
	// Failures counts failed attempts to list or watch.
	Failures prometheus.Counter
	// Metrics registers a gauge of Health; nil for none.
	Metrics prometheus.Registerer
	// Logger logs a line whenever Health changes; nil for none.
	Logger *slog.Logger
}

// Watch returns a function that keeps a store up to date with the cluster until its
// context is done. It retries after every failure of the API server. Meanwhile the store
// keeps its content, and Health returns an error. While a list arrives, objects that a
// FilteredStore does not select are not held in memory.
func Watch[List runtime.Object](config WatchConfig[List]) func(context.Context) {
	if config.Health == nil {
		config.Health = NewHealth()
	}
	if config.Metrics != nil {
		config.Metrics.MustRegister(newHealthGauge(config.Name, config.Health))
	}
	failed := func(err error) {
		config.Failures.Inc()
		config.Health.failed(err)
	}
	list := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = config.FieldSelector
		list, err := config.Client.List(ctx, options)
		if err != nil {
			failed(err)
			return nil, err
		}
		return list, nil
	}
	kept, filters := config.Store.(filteringStore)
	if filters {
		list = filterList(list, kept)
	}
	start := func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.FieldSelector = config.FieldSelector
		events, err := config.Client.Watch(ctx, options)
		if err != nil {
			// An API server without the feature WatchList returns Invalid for a
			// streamed list. The reflector then lists, so this is not a failure.
			if !streamsList(options) || !apierrors.IsInvalid(err) {
				failed(err)
			}
			return nil, err
		}
		if !streamsList(options) {
			config.Health.watching()
			return newObservedWatch(events, config.Health.received, nil, nil), nil
		}
		streamed := &filteredWatch{received: config.Health.received, failed: func(err error) {
			// When ctx is done, the reflector stops. The watch may end before that.
			if ctx.Err() == nil {
				failed(err)
			}
		}}
		if filters {
			streamed.includes = kept.includes
		}
		return newObservedWatch(events, streamed.observe, streamed.skip, streamed.ended), nil
	}
	source := &cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: start}
	reflector := cache.NewReflectorWithOptions(source, config.Expected, config.Store, cache.ReflectorOptions{Name: config.Name})
	if filters {
		reflector.WatchListPageSize = pageSize
	}
	if config.Logger == nil {
		return reflector.RunWithContext
	}
	return func(ctx context.Context) {
		var logging sync.WaitGroup
		logging.Go(func() { config.Health.log(ctx, config.Logger, config.Name) })
		reflector.RunWithContext(ctx)
		logging.Wait()
	}
}

// IsNotFound reports whether err is the response of the API server that the object with
// the name does not exist. Any other HTTP 404 does not concern the object. A proxy in
// front of the API server sends it while it has no API server to call. An API server
// sends it for a path that it does not serve. apierrors.IsNotFound returns true for the
// errors that client-go creates from such responses (newUnstructuredResponseError in
// k8s.io/client-go/rest/request.go).
func IsNotFound(err error, name string) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsNotFound(err) || apierrors.IsUnexpectedServerError(err) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name == name
}

// retryInterval is short because pod creation waits for the read. Callers share reads of
// one object, so retries do not overload the API server.
const retryInterval = 100 * time.Millisecond

// read calls get until it succeeds or the timeout has passed. So a pod gets its role
// even if one API server restarts or is gone. It does not retry if the object with
// the name does not exist or may not be read. It returns the last error that is not
// caused by the deadline.
func read[Object any](ctx context.Context, timeout time.Duration, name string, get func(context.Context) (Object, error)) (Object, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var lastErr error
	// Not a loop of k8s.io/apimachinery/pkg/util/wait, which logs the value of a panic.
	for {
		found, err := get(ctx)
		switch {
		case err == nil, IsNotFound(err, name), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return found, err
		case lastErr == nil || ctx.Err() == nil:
			// The error at the deadline is about the deadline. The error before it
			// has the cause.
			lastErr = err
		}
		select {
		case <-ctx.Done():
			return found, lastErr
		case <-time.After(retryInterval):
		}
	}
}
