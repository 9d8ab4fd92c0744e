package objectcache

import (
	"maps"
	"runtime/debug"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// FilteredStore is what is kept of those objects that something is worth keeping of. It
// is what a reflector writes into, in place of the usual cache of whole objects:
// the other objects of the cluster cost no memory.
type FilteredStore[Object metav1.Object, Value any] struct {
	// selectValue returns what is kept of an object, and whether anything is.
	selectValue func(Object) (Value, bool)
	// stripObject returns as much of an object as keep needs.
	stripObject func(Object) Object
	health      *Health

	mu     sync.RWMutex
	values map[types.NamespacedName]Value
}

var _ filteringStore = (*FilteredStore[metav1.Object, int])(nil)

// NewFilteredStore returns a store that keeps what keep says. strip returns a small copy
// of an object, with its name, its resourceVersion and what keep needs; a list
// that arrives is held as one of each object that something is kept of.
func NewFilteredStore[Object metav1.Object, Value any](keep func(Object) (Value, bool), strip func(Object) Object) *FilteredStore[Object, Value] {
	return &FilteredStore[Object, Value]{selectValue: keep, stripObject: strip, health: NewHealth(), values: map[types.NamespacedName]Value{}}
}

// Health returns the Health of the watch that fills the store.
func (k *FilteredStore[Object, Value]) Health() *Health { return k.health }

// Get returns what is kept of the object of a name.
func (k *FilteredStore[Object, Value]) Get(name types.NamespacedName) (Value, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	value, ok := k.values[name]
	return value, ok
}

// All returns all that is kept.
func (k *FilteredStore[Object, Value]) All() map[types.NamespacedName]Value {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return maps.Clone(k.values)
}

// Len returns the number of objects that something is kept of.
func (k *FilteredStore[Object, Value]) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.values)
}

// includes implements sparse.
func (k *FilteredStore[Object, Value]) includes(obj runtime.Object) bool {
	object, ok := obj.(Object)
	if !ok {
		return false
	}
	_, keep := k.selectValue(object)
	return keep
}

// Transformer makes the reflector strip each object as it arrives.
func (k *FilteredStore[Object, Value]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if object, ok := obj.(Object); ok {
			return k.stripObject(object), nil
		}
		return obj, nil
	}
}

// Add implements cache.ReflectorStore.
func (k *FilteredStore[Object, Value]) Add(obj any) error {
	object, ok := obj.(Object)
	if !ok {
		return nil
	}
	value, keep := k.selectValue(object)
	k.mu.Lock()
	defer k.mu.Unlock()
	if keep {
		k.values[nameOf(object)] = value
	} else {
		delete(k.values, nameOf(object))
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (k *FilteredStore[Object, Value]) Update(obj any) error { return k.Add(obj) }

// Delete implements cache.ReflectorStore.
func (k *FilteredStore[Object, Value]) Delete(obj any) error {
	object, ok := obj.(Object)
	if !ok {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, nameOf(object))
	return nil
}

// Replace implements cache.ReflectorStore: objects are all that there are.
func (k *FilteredStore[Object, Value]) Replace(objects []any, _ string) error {
	values := map[types.NamespacedName]Value{}
	for _, obj := range objects {
		object, ok := obj.(Object)
		if !ok {
			continue
		}
		if value, keep := k.selectValue(object); keep {
			values[nameOf(object)] = value
		}
	}
	k.mu.Lock()
	k.values = values
	k.mu.Unlock()
	// What arrived and was not kept is garbage now, more than all that is left in a
	// large cluster. The runtime would give its memory back only in the course of
	// later collections, and who serves little makes none for minutes: the pod would
	// stay as large as it was at its start. Lists are rare.
	debug.FreeOSMemory()
	k.health.Replaced()
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to repeat: what is
// kept follows from the objects alone.
func (k *FilteredStore[Object, Value]) Resync() error { return nil }

func nameOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}
