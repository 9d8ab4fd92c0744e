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

// FilteredStore is a cache.ReflectorStore that stores one value per selected object and
// nothing for the others. It replaces client-go's store of whole objects, so objects that
// are not selected use no memory.
type FilteredStore[Object metav1.Object, Value any] struct {
	// selectValue returns the value of an object, and whether the object is selected.
	selectValue func(Object) (Value, bool)
	// stripObject returns a copy of an object with the parts that selectValue needs.
	stripObject func(Object) Object
	health      *Health

	mu     sync.RWMutex
	values map[types.NamespacedName]Value
}

var _ filteringStore = (*FilteredStore[metav1.Object, int])(nil)

// NewFilteredStore returns an empty store. selectValue returns the value to store for an
// object, and whether to store one. strip returns a small copy of an object with its
// name, its resourceVersion and the parts that selectValue needs. While a list arrives,
// only these copies of the selected objects are in memory.
func NewFilteredStore[Object metav1.Object, Value any](selectValue func(Object) (Value, bool), strip func(Object) Object) *FilteredStore[Object, Value] {
	return &FilteredStore[Object, Value]{selectValue: selectValue, stripObject: strip, health: NewHealth(), values: map[types.NamespacedName]Value{}}
}

// Health returns the Health of the watch that fills the store.
func (k *FilteredStore[Object, Value]) Health() *Health { return k.health }

// Get returns the value of the object with the name, and whether there is one.
func (k *FilteredStore[Object, Value]) Get(name types.NamespacedName) (Value, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	value, ok := k.values[name]
	return value, ok
}

// All returns a copy of all values.
func (k *FilteredStore[Object, Value]) All() map[types.NamespacedName]Value {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return maps.Clone(k.values)
}

// Len returns the number of values.
func (k *FilteredStore[Object, Value]) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.values)
}

// includes implements filteringStore.
func (k *FilteredStore[Object, Value]) includes(obj runtime.Object) bool {
	object, ok := obj.(Object)
	if !ok {
		return false
	}
	_, keep := k.selectValue(object)
	return keep
}

// Transformer returns the function with which the reflector strips each object that
// arrives.
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

// Replace implements cache.ReflectorStore. It replaces all values with those of objects.
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
	// After a list, most of the memory is garbage: in a large cluster more than the
	// stored values. The runtime returns it to the operating system only after later
	// collections, and a mostly idle process may not collect for minutes. Free it now;
	// lists are rare.
	debug.FreeOSMemory()
	k.health.Replaced()
	return nil
}

// Resync implements cache.ReflectorStore. It does nothing, because the values depend only
// on the objects.
func (k *FilteredStore[Object, Value]) Resync() error { return nil }

func nameOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}
