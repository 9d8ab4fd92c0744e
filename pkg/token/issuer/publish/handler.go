package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// HealthPath answers who asks whether the server is there.
const HealthPath = "/healthz"

// Handler serves the files at the paths of their URLs, for caches to keep for maxAge.
func (s Site) Handler(maxAge time.Duration) (http.Handler, error) {
	served := map[string]http.Handler{HealthPath: http.HandlerFunc(healthy)}
	for _, file := range s.Files {
		parsed, err := url.Parse(file.URL)
		if err != nil {
			return nil, fmt.Errorf("serve %s: %w", file.URL, err)
		}
		if served[parsed.Path] != nil {
			return nil, fmt.Errorf("serve %s: something else is at %s", file.URL, parsed.Path)
		}
		served[parsed.Path] = file.handler(maxAge)
	}
	// Not http.ServeMux: to it a path may be a pattern, and this one is somebody's URL.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler := served[r.URL.Path]
		switch {
		case handler == nil:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
		default:
			handler.ServeHTTP(w, r)
		}
	}), nil
}

func healthy(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (f File) handler(maxAge time.Duration) http.Handler {
	sum := sha256.Sum256(f.Body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", f.ContentType)
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(maxAge/time.Second)))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Body))
	})
}
