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
		want   int // -1: it does not say
	}{
		"nothing":                       {http.Header{"Etag": {"x"}}, -1},
		"max-age":                       {http.Header{"Cache-Control": {"public, max-age=300"}}, 300},
		"the longer of two":             {http.Header{"Cache-Control": {"max-age=60, s-maxage=300"}}, 300},
		"in two headers":                {http.Header{"Cache-Control": {"public", "Max-Age=\"60\""}}, 60},
		"no-store, whatever else":       {http.Header{"Cache-Control": {"max-age=60, no-store"}}, 0},
		"no-cache":                      {http.Header{"Cache-Control": {"no-cache"}}, 0},
		"max-age beside Expires":        {http.Header{"Cache-Control": {"max-age=60"}, "Expires": {in(time.Hour)}}, 60},
		"Expires":                       {http.Header{"Expires": {in(time.Hour)}}, 3600},
		"Expires by the server's clock": {http.Header{"Expires": {in(time.Hour)}, "Date": {in(30 * time.Minute)}}, 1800},
		"Expires in the past":           {http.Header{"Expires": {in(-time.Hour)}}, 0},
		"Expires that is no time":       {http.Header{"Expires": {"0"}}, 0},
		"max-age that is no number":     {http.Header{"Cache-Control": {"max-age=soon"}}, -1},
		"max-age beyond all reckoning":  {http.Header{"Cache-Control": {"max-age=18446744073709551615"}}, 1 << 31},
		"a directive that nobody knows": {http.Header{"Cache-Control": {"max-agee=5, immutable"}}, -1},
		"max-age below nothing":         {http.Header{"Cache-Control": {"max-age=-5"}}, -1},
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
			t.Errorf("%+v has a time below nothing", cache)
		}
		if gone := rotation.Gone(cache); gone != nil && gone.Before(*cache.LastModified) {
			t.Errorf("%+v was gone before it was changed", cache)
		}
	})
}
