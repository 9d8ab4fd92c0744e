package rotation

// Those that tests reach from outside.
var (
	CacheOf   = cacheOf
	Remaining = (*Cache).remaining
	Gone      = (*Cache).gone
)
