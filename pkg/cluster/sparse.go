package cluster

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// sparse is a store that keeps nothing of most objects. A reflector holds a whole
// list before it gives it to the store, so those are left out before: the memory of
// a start follows from what is kept, not from how many objects there are.
type sparse interface {
	cache.TransformingStore
	// keeps says whether anything is kept of an object.
	keeps(object runtime.Object) bool
}

// pageSize is how many objects a list that is not streamed has at once. Smaller
// pages take more requests, and no less memory: the garbage of some pages is
// there in any case.
const pageSize = 2000

// onlyKept returns what from lists and watches, without what store does not keep.
func onlyKept(from *cache.ListWatch, store sparse) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if options.Limit > 0 && options.Continue == "" {
				// Of version 0 an API server sends all in one page. Of another it
				// sends the pages of just that version, which may be too old to
				// watch from; without one it sends those of the newest.
				options.ResourceVersion, options.ResourceVersionMatch = "", ""
			}
			page, err := from.ListWithContextFunc(ctx, options)
			if err != nil {
				return nil, err
			}
			return page, trim(page, store)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			events, err := from.WatchFuncWithContext(ctx, options)
			if err != nil || options.SendInitialEvents == nil || !*options.SendInitialEvents {
				return events, err
			}
			return newStreamedList(events, store.keeps), nil
		},
	}
}

// trim leaves in a page only the objects that store keeps, and of those what it
// keeps them by.
func trim(page runtime.Object, store sparse) error {
	strip := store.Transformer()
	kept := []runtime.Object{}
	err := meta.EachListItem(page, func(object runtime.Object) error {
		if !store.keeps(object) {
			return nil
		}
		stripped, err := strip(object)
		if err != nil {
			return err
		}
		if object, ok := stripped.(runtime.Object); ok {
			kept = append(kept, object)
		}
		return nil
	})
	if err == nil {
		// A new slice: what was listed beside the kept must not live as long.
		err = meta.SetList(page, kept)
	}
	if err != nil {
		return fmt.Errorf("trim a page of a list: %w", err)
	}
	return nil
}

// streamedList is a watch that begins with a list, as one event for each object
// (KEP-3157), without those objects of the list that nothing is kept of.
//
// An API server says that an object was added only while the watch does not have
// it, so nothing has to be forgotten for one that is left out. All that is said
// otherwise may be of an object that is kept, and comes through.
type streamedList struct {
	from   watch.Interface
	keeps  func(runtime.Object) bool
	result chan watch.Event
	// done ends what waits for a reader of result that is gone.
	done chan struct{}
	stop func()
}

// newStreamedList returns a watch that ends when from ends, or is stopped.
func newStreamedList(from watch.Interface, keeps func(runtime.Object) bool) *streamedList {
	l := &streamedList{from: from, keeps: keeps, result: make(chan watch.Event), done: make(chan struct{})}
	l.stop = sync.OnceFunc(func() {
		close(l.done)
		from.Stop()
	})
	go l.pass()
	return l
}

// ResultChan implements watch.Interface.
func (l *streamedList) ResultChan() <-chan watch.Event { return l.result }

// Stop implements watch.Interface.
func (l *streamedList) Stop() { l.stop() }

func (l *streamedList) pass() {
	defer close(l.result)
	listed := false
	for event := range l.from.ResultChan() {
		if event.Type == watch.Added && !listed && !l.keeps(event.Object) {
			continue
		}
		if event.Type == watch.Bookmark && endsList(event.Object) {
			listed = true
		}
		select {
		case l.result <- event:
		case <-l.done:
			return
		}
	}
}

// endsList says whether a bookmark is the one after the last object of a list.
func endsList(bookmark runtime.Object) bool {
	object, err := meta.Accessor(bookmark)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
