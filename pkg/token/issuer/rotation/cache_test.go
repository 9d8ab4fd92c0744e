package rotation_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/rotation"
)

func TestCacheOf(t *testing.T) {
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		header http.Header
		want   int // -1 if the header does not specify it
	}{
		"no caching headers":       {http.Header{"Etag": {"x"}}, -1},
		"max-age":                  {http.Header{"Cache-Control": {"public, max-age=300"}}, 300},
		"the longer of two":        {http.Header{"Cache-Control": {"max-age=60, s-maxage=300"}}, 300},
		"two headers":              {http.Header{"Cache-Control": {"public", "Max-Age=\"60\""}}, 60},
		"no-store and max-age":     {http.Header{"Cache-Control": {"max-age=60, no-store"}}, 0},
		"no-cache":                 {http.Header{"Cache-Control": {"no-cache"}}, 0},
		"max-age and Expires":      {http.Header{"Cache-Control": {"max-age=60"}, "Expires": {in(time.Hour)}}, 60},
		"Expires":                  {http.Header{"Expires": {in(time.Hour)}}, 3600},
		"Expires relative to Date": {http.Header{"Expires": {in(time.Hour)}, "Date": {in(30 * time.Minute)}}, 1800},
		"Expires in the past":      {http.Header{"Expires": {in(-time.Hour)}}, 0},
		"invalid Expires":          {http.Header{"Expires": {"0"}}, 0},
		"max-age is not a number":  {http.Header{"Cache-Control": {"max-age=soon"}}, -1},
		"max-age too large":        {http.Header{"Cache-Control": {"max-age=18446744073709551615"}}, 1 << 31},
		"unknown directive":        {http.Header{"Cache-Control": {"max-agee=5, immutable"}}, -1},
		"negative max-age":         {http.Header{"Cache-Control": {"max-age=-5"}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			got := -1
			if cache := rotation.CacheOf(test.header, now); cache != nil && cache.MaxAge != nil {
				got = *cache.MaxAge
			}
			if got != test.want {
				t.Errorf("got %d seconds, want %d", got, test.want)
			}
		})
	}
}

func FuzzCache(f *testing.F) {
	f.Add("public, max-age=300", "10", "Tue, 24 Nov 2026 12:00:00 GMT", "0", "Tue, 24 Nov 2026 12:00:00 GMT")
	f.Add(`s-maxage="9999999999999"`, "-1", "", "Tue, 24 Nov 9999 12:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, control, age, modified, expires, date string) {
		cache := rotation.CacheOf(http.Header{
			"Cache-Control": {control}, "Age": {age}, "Last-Modified": {modified}, "Expires": {expires}, "Date": {date},
		}, now)
		if cache == nil {
			return
		}
		if (cache.MaxAge != nil && *cache.MaxAge < 0) || (cache.Age != nil && *cache.Age < 0) || rotation.Remaining(cache) < 0 {
			t.Errorf("got %+v, want no negative time", cache)
		}
		if until := rotation.StaleUntil(cache); until != nil && until.Before(*cache.LastModified) {
			t.Errorf("%+v is not stale although it was just changed", cache)
		}
	})
}
