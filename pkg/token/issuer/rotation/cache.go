package rotation

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Cache is the caching information in a response (RFC 9111).
type Cache struct {
	// MaxAge is how many seconds the response stays fresh. It is nil if the response does
	// not specify it. Each cache then chooses a time itself (section 4.2.2).
	MaxAge *int `json:"maxAgeSeconds,omitempty"`
	// Age is how many seconds ago the origin sent the response. It is nil if the response
	// has no Age header, which caches add.
	Age *int `json:"ageSeconds,omitempty"`
	// LastModified is the time of the last change of the document.
	LastModified *time.Time `json:"lastModified,omitempty"`
}

// cacheOf parses the headers of a response. It returns nil if they contain no caching
// information.
func cacheOf(header http.Header, now time.Time) *Cache {
	date := now
	if given, err := http.ParseTime(header.Get("Date")); err == nil {
		date = given
	}
	cache := &Cache{MaxAge: maxAge(header, date), Age: seconds(header.Get("Age"))}
	if modified, err := http.ParseTime(header.Get("Last-Modified")); err == nil {
		modified = modified.UTC()
		cache.LastModified = &modified
	}
	if *cache == (Cache{}) {
		return nil
	}
	return cache
}

// maxAge returns the longest time in seconds for which any cache can treat a response as
// fresh. That is the larger of s-maxage, for shared caches, and max-age (RFC 9111, section
// 4.2.1). It returns nil if the header does not specify a time.
func maxAge(header http.Header, date time.Time) *int {
	var longest *int
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return new(0)
		case "max-age", "s-maxage":
			if given := seconds(strings.Trim(value, `"`)); given != nil && (longest == nil || *given > *longest) {
				longest = given
			}
		}
	}
	if longest != nil || header.Get("Expires") == "" {
		return longest
	}
	expires, err := http.ParseTime(header.Get("Expires"))
	if err != nil { // section 5.3: an invalid date such as 0 means already expired
		return new(0)
	}
	return new(int(max(0, expires.Sub(date)) / time.Second))
}

// maxSeconds is the largest number of seconds that caches must support. Larger numbers mean
// the same (RFC 9111, section 1.2.2).
const maxSeconds = 1 << 31

// seconds parses a number of seconds. It returns nil if value is not a non-negative number.
func seconds(value string) *int {
	number, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return nil
	}
	return new(int(min(number, maxSeconds)))
}

// remainingTTL returns how long the cache can still return the response. It returns 0 if the
// response does not come from a cache or has no maximum age.
func (c *Cache) remainingTTL() time.Duration {
	if c == nil || c.Age == nil || c.MaxAge == nil {
		return 0
	}
	return time.Duration(max(0, *c.MaxAge-*c.Age)) * time.Second
}

// staleUntil returns the time until which caches can hold the document from before the last
// change. It returns nil if the response does not contain the necessary headers.
func (c *Cache) staleUntil() *time.Time {
	if c == nil || c.LastModified == nil || c.MaxAge == nil {
		return nil
	}
	return new(c.LastModified.Add(time.Duration(*c.MaxAge) * time.Second))
}
