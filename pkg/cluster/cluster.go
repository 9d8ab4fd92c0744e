// Package cluster owns how objects of the cluster are known: kept from a watch
// where something about them is worth keeping, and read live where not. It knows
// nothing of what they mean.
package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Client lists and watches the objects of one resource.
type Client[List runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (List, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// Watch returns a function that keeps store up to date with what client lists,
// until its context is done. It outlives every failure of the API server; what
// was known stays known meanwhile. selector limits the objects by their fields,
// or is empty. What a Kept keeps nothing of is not held while a list arrives.
func Watch[List runtime.Object](name string, expected runtime.Object, client Client[List], selector string, store cache.ReflectorStore, failures prometheus.Counter) func(context.Context) {
	counted := func(err error) error {
		if err != nil {
			failures.Inc()
		}
		return err
	}
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			list, err := client.List(ctx, options)
			return list, counted(err)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			events, err := client.Watch(ctx, options)
			return events, counted(err)
		},
	}
	kept, ok := store.(sparse)
	if ok {
		source = onlyKept(source, kept)
	}
	reflector := cache.NewReflectorWithOptions(source, expected, store, cache.ReflectorOptions{Name: name})
	if ok {
		reflector.WatchListPageSize = pageSize
	}
	return reflector.RunWithContext
}

// retryInterval is short: a pod waits for the answer. Reads of one object are
// shared by those who wait, so this is no storm.
const retryInterval = 100 * time.Millisecond

// Read calls get until it has an answer or timeout is over: an API server that
// restarts, or one of several that is gone, should not cost a pod its identity.
// That an object does not exist, or may not be read, is an answer. get should
// ask for no resourceVersion, so that it is not answered from a cache that may
// lag behind.
func Read[Object any](ctx context.Context, timeout time.Duration, get func(context.Context) (Object, error)) (Object, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var found Object
	var lastErr error
	err := wait.PollUntilContextCancel(ctx, retryInterval, true, func(ctx context.Context) (bool, error) {
		var err error
		found, err = get(ctx)
		switch {
		case err == nil:
			return true, nil
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return false, err
		}
		// At the deadline the client's error is of the deadline, and the one
		// before is of the cause.
		if lastErr == nil || ctx.Err() == nil {
			lastErr = err
		}
		return false, nil
	})
	if wait.Interrupted(err) && lastErr != nil {
		err = lastErr
	}
	return found, err
}

// Synced tells once whether something is known.
type Synced struct {
	done chan struct{}
	mark func()
}

// NewSynced returns a Synced of something that is not known yet.
func NewSynced() *Synced {
	done := make(chan struct{})
	return &Synced{done: done, mark: sync.OnceFunc(func() { close(done) })}
}

// Mark says that it is known from now on.
func (s *Synced) Mark() { s.mark() }

// Done is closed once it is known.
func (s *Synced) Done() <-chan struct{} { return s.done }

// Is says whether it is known.
func (s *Synced) Is() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
