package rotation

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Cache is what an answer says of how long it may be kept (RFC 9111).
type Cache struct {
	// MaxAge is for how many seconds it is fresh; nil where the answer says nothing, and
	// who keeps it decides for himself (section 4.2.2).
	MaxAge *int `json:"maxAgeSeconds,omitempty"`
	// Age is how many seconds ago the origin gave it; nil where no cache says so.
	Age *int `json:"ageSeconds,omitempty"`
	// LastModified is when what is served was changed last.
	LastModified *time.Time `json:"lastModified,omitempty"`
}

// cacheOf reads the headers of an answer. Nil says that they tell nothing.
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

// maxAge returns the longest time for which any cache may take an answer for fresh, a
// shared one (s-maxage) or another, by section 4.2.1.
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
	if err != nil { // section 5.3: such as 0, which is to mean already
		return new(0)
	}
	return new(int(max(0, expires.Sub(date)) / time.Second))
}

// maxSeconds is the most that a cache has to be able to reckon with (RFC 9111, section
// 1.2.2); more means the same.
const maxSeconds = 1 << 31

// seconds reads a number of seconds; nil is none.
func seconds(value string) *int {
	number, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return nil
	}
	return new(int(min(number, maxSeconds)))
}

// remainingTTL returns for how long an answer that a cache gave may be given again.
func (c *Cache) remainingTTL() time.Duration {
	if c == nil || c.Age == nil || c.MaxAge == nil {
		return 0
	}
	return time.Duration(max(0, *c.MaxAge-*c.Age)) * time.Second
}

// staleUntil returns when no cache holds what was there before the last change; nil where
// that is not told.
func (c *Cache) staleUntil() *time.Time {
	if c == nil || c.LastModified == nil || c.MaxAge == nil {
		return nil
	}
	return new(c.LastModified.Add(time.Duration(*c.MaxAge) * time.Second))
}
