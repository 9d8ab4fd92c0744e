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

// filteringStore is a store that stores a value only for some objects. A reflector holds
// a whole list in memory before it passes it to the store, so the other objects are
// removed before that. The memory at the start then depends on the number of stored
// objects, not of all objects.
type filteringStore interface {
	cache.TransformingStore
	// includes reports whether the store has a value for an object.
	includes(object runtime.Object) bool
}

// pageSize is the number of objects per page of a list that is not streamed. Smaller
// pages need more requests and save no memory, because the garbage of several pages is
// always in memory.
const pageSize = 2000

// filterList returns a function that lists like list, without the objects that store
// does not include.
func filterList(list cache.ListWithContextFunc, store filteringStore) cache.ListWithContextFunc {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if options.Limit > 0 && options.Continue == "" {
			// For version 0 an API server sends all objects in one page. For
			// another version it sends the pages of exactly that version, which
			// may be too old to watch from. Without a version it sends the pages
			// of the newest version.
			options.ResourceVersion, options.ResourceVersionMatch = "", ""
		}
		page, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		return page, filterPage(page, store)
	}
}

// filterPage removes from a page the objects that store does not include, and strips the
// others. It returns an error if page is not a list.
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
		// A new slice, so that the removed objects can be freed.
		err = meta.SetList(page, kept)
	}
	if err != nil {
		return fmt.Errorf("filter page of list: %w", err)
	}
	return nil
}

// errListCutOff is the error of a streamed list that ended early.
var errListCutOff = errors.New("the watch ended before its list was complete")

// filteredWatch observes a watch that begins with a list. The list has one event per
// object and ends with a bookmark (KEP-3157). One goroutine calls its methods.
type filteredWatch struct {
	// received is called with the events after the list. Events of the list do not
	// count, because the store holds none of its objects before the list is complete.
	received func(watch.Event)
	// failed is called with the reason why the list did not become complete.
	failed func(error)
	// includes reports whether the store has a value for an object; nil if it has one
	// for all.
	includes func(runtime.Object) bool
	// over reports whether the list is complete or has failed.
	over bool
	// complete reports whether the list is complete.
	complete bool
}

// observe records an event.
func (l *filteredWatch) observe(event watch.Event) {
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

// skip reports whether an event is an object of the list for which the store has no
// value.
//
// An API server sends an Added event only for objects that the watch does not have. So
// the store has nothing to delete for a skipped object. Any other event may concern a
// stored object.
func (l *filteredWatch) skip(event watch.Event) bool {
	return event.Type == watch.Added && !l.complete && l.includes != nil && !l.includes(event.Object)
}

// isInitialEventsEnd reports whether a bookmark marks the end of a list.
func isInitialEventsEnd(bookmark runtime.Object) bool {
	object, err := meta.Accessor(bookmark)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
