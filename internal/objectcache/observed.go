package objectcache

import (
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// observedWatch forwards the events of a watch after calling a function with them.
// watch.Filter of k8s.io/apimachinery does not stop while its result is not read.
type observedWatch struct {
	from    watch.Interface
	observe func(watch.Event)
	// skip reports whether to drop an event; nil for none.
	skip func(watch.Event) bool
	// ended is called if the watch ends without having been stopped; nil for nothing.
	ended  func()
	result chan watch.Event
	// done is closed by Stop, so that forward does not wait for a reader that is gone.
	done chan struct{}
	stop func()
}

// newObservedWatch returns a watch that ends when from ends, or when it is stopped.
func newObservedWatch(from watch.Interface, observe func(watch.Event), skip func(watch.Event) bool, ended func()) *observedWatch {
	w := &observedWatch{from: from, observe: observe, skip: skip, ended: ended, result: make(chan watch.Event), done: make(chan struct{})}
	w.stop = sync.OnceFunc(func() {
		close(w.done)
		from.Stop()
	})
	go w.forward()
	return w
}

// ResultChan implements watch.Interface.
func (w *observedWatch) ResultChan() <-chan watch.Event { return w.result }

// Stop implements watch.Interface.
func (w *observedWatch) Stop() { w.stop() }

func (w *observedWatch) forward() {
	defer close(w.result)
	for event := range w.from.ResultChan() {
		w.observe(event)
		if w.skip != nil && w.skip(event) {
			continue
		}
		select {
		case w.result <- event:
		case <-w.done:
			return
		}
	}
	select {
	case <-w.done:
	default:
		if w.ended != nil {
			w.ended()
		}
	}
}
