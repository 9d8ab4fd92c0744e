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

// HealthPath is the path of the health check.
const HealthPath = "/healthz"

// Handler returns a handler that serves the files at the paths of their URLs. Caches can keep
// the responses for maxAge. Handler returns an error if two paths conflict.
func (s Site) Handler(maxAge time.Duration) (http.Handler, error) {
	served := map[string]http.Handler{HealthPath: http.HandlerFunc(healthy)}
	for _, file := range s.Files {
		parsed, err := url.Parse(file.URL)
		if err != nil {
			return nil, fmt.Errorf("serve %s: %w", file.URL, err)
		}
		if served[parsed.Path] != nil {
			return nil, fmt.Errorf("serve %s: path %s is already in use", file.URL, parsed.Path)
		}
		served[parsed.Path] = file.handler(maxAge)
	}
	// http.ServeMux would interpret braces in these paths as patterns.
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

// handler returns a handler that serves one file.
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
