package rotation

// Those that tests reach from outside.
var (
	CacheOf   = cacheOf
	Remaining = (*Cache).remainingTTL
	Gone      = (*Cache).staleUntil
)
