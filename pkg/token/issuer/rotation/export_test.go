package rotation

// Exported for the tests in package rotation_test.
var (
	CacheOf    = cacheOf
	Remaining  = (*Cache).remainingTTL
	StaleUntil = (*Cache).staleUntil
)
