// Package publish writes the documents of an issuer to a directory for upload, or serves them.
// Package issuer creates the documents.
package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// The content types that the API server uses. RFC 7517, section 8.5.1, defines the second one.
const (
	typeDiscovery = "application/json"
	typeJWKS      = "application/jwk-set+json"
)

// outsidePath is the file name of the key set if its URL is not below the issuer's URL.
const outsidePath = "jwks.json"

// File is one document.
type File struct {
	// Path is the slash-separated path in the directory.
	Path string
	// URL is the URL at which clients read the document.
	URL         string
	ContentType string
	Body        []byte
}

// Site holds all documents of an issuer.
type Site struct {
	// Files holds the key set and the discovery document. Upload them in this order, so that
	// the discovery document never refers to a missing key set.
	Files []File
}

// NewSite returns a Site with these documents. Its directory must be served at the issuer's
// URL. NewSite returns an error if jwksURI is not the URL of a file, or if its path is unsafe
// or conflicts with the discovery document.
func NewSite(issuerURL, jwksURI string, documents issuer.Documents) (Site, error) {
	path, err := jwksPath(issuerURL, jwksURI)
	if err != nil {
		return Site{}, fmt.Errorf("JWKS URI %q: %w", jwksURI, err)
	}
	return Site{Files: []File{
		{Path: path, URL: jwksURI, ContentType: typeJWKS, Body: documents.JWKS},
		{
			Path: strings.TrimPrefix(issuer.DiscoveryPath, "/"), URL: issuer.DiscoveryURL(issuerURL),
			ContentType: typeDiscovery, Body: documents.Discovery,
		},
	}}, nil
}

// jwksPath returns the path of the key set in the directory.
func jwksPath(issuerURL, jwksURI string) (string, error) {
	parsed, err := url.Parse(jwksURI)
	if err != nil || parsed.Path == "" || parsed.Path == "/" {
		return "", errors.New("not the URL of a file")
	}
	path, below := strings.CutPrefix(jwksURI, strings.TrimSuffix(issuerURL, "/")+"/")
	if !below {
		return outsidePath, nil
	}
	discovery := strings.TrimPrefix(issuer.DiscoveryPath, "/")
	switch {
	// Web servers, buckets and directories can interpret these paths differently.
	case !fs.ValidPath(path), strings.ContainsAny(path, `%\`):
		return "", errors.New("path must not contain .., //, % or \\")
	case path == discovery, strings.HasPrefix(path, discovery+"/"), strings.HasPrefix(discovery, path+"/"):
		return "", errors.New("path conflicts with the discovery document")
	}
	return path, nil
}
