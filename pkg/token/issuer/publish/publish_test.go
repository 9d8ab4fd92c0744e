package publish_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/publish"
)

const issuerURL = "https://oidc.example.com/id"

var documents = issuer.Documents{Discovery: []byte(`{"issuer":"x"}`), JWKS: []byte(`{"keys":[]}`)}

func siteOf(t *testing.T, issuerURL, jwksURI string) publish.Site {
	t.Helper()
	site, err := publish.NewSite(issuerURL, jwksURI, documents)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func TestSiteWrite(t *testing.T) {
	for name, test := range map[string]struct{ issuerURL, jwksURI, path string }{
		"key set at the path of the API server":  {issuerURL, issuerURL + "/openid/v1/jwks", "openid/v1/jwks"},
		"key set next to the discovery document": {issuerURL, issuerURL + "/.well-known/jwks.json", ".well-known/jwks.json"},
		"issuer with a trailing slash":           {issuerURL + "/", issuerURL + "/keys.json", "keys.json"},
		"key set at another host":                {issuerURL, "https://keys.example.com/a/b", "jwks.json"},
		"key set outside the issuer's path":      {issuerURL, "https://oidc.example.com/idx/keys.json", "jwks.json"},
	} {
		t.Run(name, func(t *testing.T) {
			directory := filepath.Join(t.TempDir(), "new")
			site := siteOf(t, test.issuerURL, test.jwksURI)
			for range 2 { // the second time replaces the files
				if err := site.Write(directory); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]string{test.path: `{"keys":[]}`, ".well-known/openid-configuration": `{"issuer":"x"}`}
			found := map[string]string{}
			err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				content, err := os.ReadFile(path)
				relative, _ := filepath.Rel(directory, path)
				found[relative] = string(content)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != len(want) || found[test.path] != want[test.path] || found[".well-known/openid-configuration"] != want[".well-known/openid-configuration"] {
				t.Errorf("got %v, want %v", found, want)
			}
			if last := site.Files[len(site.Files)-1]; last.URL != issuerURL+"/.well-known/openid-configuration" {
				t.Errorf("got %s as last file, want the discovery document", last.URL)
			}
		})
	}
}

func TestNewSite_pathTraversal(t *testing.T) {
	for name, jwksURI := range map[string]string{
		"parent directory":                    issuerURL + "/../../etc/passwd",
		"parent directory, percent-encoded":   issuerURL + "/%2e%2e/passwd",
		"parent directory, backslash":         issuerURL + `/..\passwd`,
		"path of the discovery document":      issuerURL + "/.well-known/openid-configuration",
		"below the discovery document":        issuerURL + "/.well-known/openid-configuration/keys",
		"directory of the discovery document": issuerURL + "/.well-known",
		"a directory":                         issuerURL + "/keys/",
		"no path":                             "https://keys.example.com/",
	} {
		t.Run(name, func(t *testing.T) {
			if site, err := publish.NewSite(issuerURL, jwksURI, documents); err == nil {
				t.Errorf("%s: got path %v, want an error", jwksURI, site.Files[0].Path)
			}
		})
	}
}

func TestSiteWrite_symlink(t *testing.T) {
	outside, directory := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(directory, "openid")); err != nil {
		t.Fatal(err)
	}
	if err := siteOf(t, issuerURL, issuerURL+"/openid/v1/jwks").Write(directory); err == nil {
		t.Error("got no error for a path through a symbolic link")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("got %v, %v outside the directory", entries, err)
	}
}

func TestSiteHandler(t *testing.T) {
	handler, err := siteOf(t, issuerURL, issuerURL+"/openid/v1/jwks").Handler(5 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		method, path string
		status       int
		contentType  string
		body         string
	}{
		"discovery document":      {http.MethodGet, "/id/.well-known/openid-configuration", http.StatusOK, "application/json", `{"issuer":"x"}`},
		"key set":                 {http.MethodGet, "/id/openid/v1/jwks", http.StatusOK, "application/jwk-set+json", `{"keys":[]}`},
		"HEAD of the key set":     {http.MethodHead, "/id/openid/v1/jwks", http.StatusOK, "application/jwk-set+json", ""},
		"health check":            {http.MethodGet, "/healthz", http.StatusOK, "text/plain; charset=utf-8", "ok\n"},
		"path outside the issuer": {http.MethodGet, "/openid/v1/jwks", http.StatusNotFound, "text/plain; charset=utf-8", "404 page not found\n"},
		"a directory":             {http.MethodGet, "/id/", http.StatusNotFound, "text/plain; charset=utf-8", "404 page not found\n"},
		"PUT":                     {http.MethodPut, "/id/openid/v1/jwks", http.StatusMethodNotAllowed, "text/plain; charset=utf-8", "GET or HEAD\n"},
	} {
		t.Run(name, func(t *testing.T) {
			recorded := httptest.NewRecorder()
			handler.ServeHTTP(recorded, httptest.NewRequest(test.method, test.path, nil))
			got := recorded.Result()
			body, _ := io.ReadAll(got.Body)
			if got.StatusCode != test.status || got.Header.Get("Content-Type") != test.contentType || string(body) != test.body {
				t.Errorf("got %d %s %q", got.StatusCode, got.Header.Get("Content-Type"), body)
			}
			if cached := got.Header.Get("Cache-Control"); strings.Contains(test.path, "id/") && test.status == http.StatusOK && cached != "public, max-age=300" {
				t.Errorf("got Cache-Control %q", cached)
			}
		})
	}
}

func TestSiteHandler_notModified(t *testing.T) {
	handler, err := siteOf(t, issuerURL, issuerURL+"/openid/v1/jwks").Handler(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	first, second := httptest.NewRecorder(), httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/id/openid/v1/jwks", nil)
	handler.ServeHTTP(first, request)
	request.Header.Set("If-None-Match", first.Header().Get("ETag"))
	handler.ServeHTTP(second, request)
	if second.Code != http.StatusNotModified {
		t.Errorf("got %d, want %d", second.Code, http.StatusNotModified)
	}
}

func TestSiteHandler_conflictingPaths(t *testing.T) {
	for name, jwksURI := range map[string]string{
		"path of the discovery document at another host": "https://keys.example.com/id/.well-known/openid-configuration",
		"path of the health check":                       "https://keys.example.com/healthz",
	} {
		if _, err := siteOf(t, issuerURL, jwksURI).Handler(time.Minute); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
