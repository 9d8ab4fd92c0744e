package objectcache

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// filteringStore is a store that keeps nothing of most objects. A reflector holds a whole
// list before it gives it to the store, so those are left out before: the memory of
// a start follows from what is kept, not from how many objects there are.
type filteringStore interface {
	cache.TransformingStore
	// includes says whether anything is kept of an object.
	includes(object runtime.Object) bool
}

// pageSize is how many objects a list that is not streamed has at once. Smaller
// pages take more requests, and no less memory: the garbage of some pages is
// there in any case.
const pageSize = 2000

// listKept returns a function that lists what list does, without the objects that
// store does not keep.
func listKept(list cache.ListWithContextFunc, store filteringStore) cache.ListWithContextFunc {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if options.Limit > 0 && options.Continue == "" {
			// Of version 0 an API server sends all in one page. Of another it
			// sends the pages of just that version, which may be too old to
			// watch from; without one it sends those of the newest.
			options.ResourceVersion, options.ResourceVersionMatch = "", ""
		}
		page, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		return page, filterPage(page, store)
	}
}

// filterPage leaves in a page only the objects that store keeps, and of those what it
// keeps them by.
func filterPage(page runtime.Object, store filteringStore) error {
	strip := store.Transformer()
	kept := []runtime.Object{}
	err := meta.EachListItem(page, func(object runtime.Object) error {
		if !store.includes(object) {
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

// errListCutOff is the error of a streamed list whose end did not arrive.
var errListCutOff = errors.New("the watch ended before its list was complete")

// filteredWatch follows a watch that begins with a list, as one event for each object
// (KEP-3157), until the bookmark that ends the list. Its methods are called by one
// goroutine.
type filteredWatch struct {
	// received takes the events after the list. Those of the list are no sign of
	// life: the store holds none of them before the list is complete.
	received func(watch.Event)
	// failed takes the reason why the list did not become complete.
	failed func(error)
	// includes reports whether anything is kept of an object; nil if all are kept.
	includes func(runtime.Object) bool
	// over reports that the list is complete or has failed.
	over bool
	// complete reports that the list is complete.
	complete bool
}

// see records an event.
func (l *filteredWatch) see(event watch.Event) {
	switch {
	case l.complete:
		l.received(event)
	case event.Type == watch.Error:
		l.fail(apierrors.FromObject(event.Object))
	case event.Type == watch.Bookmark && isInitialEventsEnd(event.Object):
		l.complete, l.over = true, true
	}
}

// ended records the end of the watch.
func (l *filteredWatch) ended() { l.fail(errListCutOff) }

func (l *filteredWatch) fail(err error) {
	if !l.over {
		l.over = true
		l.failed(err)
	}
}

// skip reports whether an event is an object of the list of which nothing is kept.
//
// An API server says that an object was added only while the watch does not have
// it, so nothing has to be forgotten for one that is left out. Any other event may
// be of an object that is kept.
func (l *filteredWatch) skip(event watch.Event) bool {
	return event.Type == watch.Added && !l.complete && l.includes != nil && !l.includes(event.Object)
}

// isInitialEventsEnd says whether a bookmark is the one after the last object of a list.
func isInitialEventsEnd(bookmark runtime.Object) bool {
	object, err := meta.Accessor(bookmark)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
