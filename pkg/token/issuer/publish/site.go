// Package publish lays out what an issuer publishes as a web site: into a directory that
// is to be uploaded, or served by ourselves. What the documents say is the package
// issuer's.
package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// Content types as the API server has them: that of key sets is RFC 7517, section 8.5.1.
const (
	typeDiscovery = "application/json"
	typeJWKS      = "application/jwk-set+json"
)

// outsidePath is the name of the key set's file when its URL is not below the issuer's.
const outsidePath = "jwks.json"

// File is one document.
type File struct {
	// Path is where it is in the directory, with slashes.
	Path string
	// URL is where it has to be found.
	URL         string
	ContentType string
	Body        []byte
}

// Site is all that an issuer publishes.
type Site struct {
	// Files are the key set and the discovery document, in this order: who uploads them
	// one after the other has no discovery document of keys that are not there yet.
	Files []File
}

// NewSite lays out documents. The directory is what has to be found at the issuer's URL.
func NewSite(issuerURL, jwksURI string, documents issuer.Documents) (Site, error) {
	path, err := jwksPath(issuerURL, jwksURI)
	if err != nil {
		return Site{}, fmt.Errorf("lay out the JWKS URI %q: %w", jwksURI, err)
	}
	return Site{Files: []File{
		{Path: path, URL: jwksURI, ContentType: typeJWKS, Body: documents.JWKS},
		{
			Path: strings.TrimPrefix(issuer.DiscoveryPath, "/"), URL: issuer.DiscoveryURL(issuerURL),
			ContentType: typeDiscovery, Body: documents.Discovery,
		},
	}}, nil
}

// jwksPath returns the path of the key set below the issuer's URL.
func jwksPath(issuerURL, jwksURI string) (string, error) {
	parsed, err := url.Parse(jwksURI)
	if err != nil || parsed.Path == "" || parsed.Path == "/" {
		return "", errors.New("it names no file")
	}
	path, below := strings.CutPrefix(jwksURI, strings.TrimSuffix(issuerURL, "/")+"/")
	if !below {
		return outsidePath, nil
	}
	discovery := strings.TrimPrefix(issuer.DiscoveryPath, "/")
	switch {
	// A path that a web server, a bucket and a directory may understand differently.
	case !fs.ValidPath(path), strings.ContainsAny(path, `%\`):
		return "", errors.New("its path may not have .., // or %")
	case path == discovery, strings.HasPrefix(path, discovery+"/"), strings.HasPrefix(discovery, path+"/"):
		return "", errors.New("the discovery document is there")
	}
	return path, nil
}
