package doctor

import "sync"

// onceCache caches one value per key. It calls read once per key, also if several
// goroutines get the same key at the same time.
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
