package doctor

import "sync"

// onceCache remembers what was read under a key, so that it is read once however many
// ask for it, and at the same time.
type onceCache[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]func() V
}

func (m *onceCache[K, V]) get(key K, read func() V) V {
	m.mu.Lock()
	if m.known == nil {
		m.known = map[K]func() V{}
	}
	once, ok := m.known[key]
	if !ok {
		once = sync.OnceValue(read)
		m.known[key] = once
	}
	m.mu.Unlock()
	return once()
}
