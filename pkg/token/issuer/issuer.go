// Package issuer reads, verifies and creates the documents of a cluster's OpenID Connect
// issuer, which is its API server. It reads the published documents, verifies tokens with
// them, and creates documents for publication. It does not use STS.
package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// DiscoveryPath is the path of the discovery document below the issuer's URL (OpenID
	// Connect Discovery 1.0, section 4).
	DiscoveryPath = "/.well-known/openid-configuration"
	// JWKSPath is the path of the keys below the issuer's URL. It is the path that API
	// servers use, so that the URLs are the same for documents published elsewhere.
	JWKSPath = "/openid/v1/jwks"
	// Accept is the value of the Accept header of requests for documents. API servers
	// serve keys only to clients that accept the second type (RFC 7517, section 8.5.2).
	Accept = "application/json, application/jwk-set+json"
	// timeout limits the duration of each request.
	timeout = 10 * time.Second
	// maxDocument is the maximum size of a document in bytes. An RSA key of 4096 bits
	// takes about 800 bytes.
	maxDocument = 1 << 20
	// maxRedirects is the limit of net/http.
	maxRedirects = 10
)

// Step is a step of discovery.
type Step string

// The steps of discovery, in order.
const (
	StepDiscovery Step = "discovery document"
	StepKeySet    Step = "key set"
)

// DiscoveryError is the error for a document of an issuer that cannot be read or is invalid.
type DiscoveryError struct {
	// URL is the URL of the document.
	URL  string
	Step Step
	Err  error
}

func (e *DiscoveryError) Error() string {
	return fmt.Sprintf("read the issuer's %s at %s: %v", e.Step, e.URL, e.Err)
}

func (e *DiscoveryError) Unwrap() error { return e.Err }

// Issuer is the published data of an issuer.
type Issuer struct {
	// URL is the issuer's URL, as in the claim iss of its tokens.
	URL string
	// JWKSURI is the URL of the public keys.
	JWKSURI string
	Keys    jose.JSONWebKeySet
}

// Discover reads an issuer's discovery document and public keys, as AWS does. If client is
// nil, it uses http.DefaultClient. The error is always a *DiscoveryError.
func Discover(ctx context.Context, client *http.Client, issuerURL string) (Issuer, error) {
	documentURL := DiscoveryURL(issuerURL)
	body, err := read(ctx, client, documentURL)
	if err != nil {
		return Issuer{}, &DiscoveryError{redactURL(documentURL), StepDiscovery, err}
	}
	jwksURI, err := ParseDiscovery(body, issuerURL)
	if err != nil {
		return Issuer{}, &DiscoveryError{redactURL(documentURL), StepDiscovery, err}
	}
	keys, err := ReadKeys(ctx, client, jwksURI)
	if err != nil {
		return Issuer{}, err
	}
	return Issuer{URL: issuerURL, JWKSURI: jwksURI, Keys: keys}, nil
}

// DiscoveryURL returns the URL of an issuer's discovery document. If issuerURL ends in a
// slash, the slash is not doubled (OpenID Connect Discovery 1.0, section 4.1).
func DiscoveryURL(issuerURL string) string {
	return strings.TrimSuffix(issuerURL, "/") + DiscoveryPath
}

// ReadKeys reads the public keys at a JWKS URI. The error is always a *DiscoveryError.
func ReadKeys(ctx context.Context, client *http.Client, jwksURI string) (jose.JSONWebKeySet, error) {
	body, err := read(ctx, client, jwksURI)
	if err != nil {
		return jose.JSONWebKeySet{}, &DiscoveryError{redactURL(jwksURI), StepKeySet, err}
	}
	keys, err := ParseKeySet(body)
	if err != nil {
		return jose.JSONWebKeySet{}, &DiscoveryError{redactURL(jwksURI), StepKeySet, err}
	}
	return keys, nil
}

// ParseDiscovery returns the JWKS URI in a discovery document. It returns an error if the
// document is invalid or belongs to another issuer. It also returns an error if the issuer
// uses https and the JWKS URI does not.
func ParseDiscovery(body []byte, issuerURL string) (string, error) {
	document, err := parseConfiguration(body)
	if err != nil {
		return "", err
	}
	switch {
	case document.Issuer != issuerURL:
		// OpenID Connect Discovery 1.0, section 4.3: they must match exactly.
		return "", fmt.Errorf("issuer is %q, want %q", document.Issuer, issuerURL)
	case document.JWKSURI == "":
		return "", errors.New("jwks_uri is missing")
	case strings.HasPrefix(issuerURL, "https://") && !strings.HasPrefix(document.JWKSURI, "https://"):
		// OpenID Connect Discovery 1.0, section 3. Without TLS, an attacker on the network
		// could replace the keys.
		return "", fmt.Errorf("jwks_uri %q must start with https://", redactURL(document.JWKSURI))
	}
	return document.JWKSURI, nil
}

// Parse parses documents without checking the issuer in them. The documents must come from a
// trusted source, such as the API server in the caller's kubeconfig. It returns an error if a
// document is invalid or the issuer is missing.
func Parse(documents Documents) (Issuer, error) {
	document, err := parseConfiguration(documents.Discovery)
	if err != nil {
		return Issuer{}, fmt.Errorf("read discovery document: %w", err)
	}
	keys, err := ParseKeySet(documents.JWKS)
	if err != nil {
		return Issuer{}, fmt.Errorf("read key set: %w", err)
	}
	return Issuer{URL: document.Issuer, JWKSURI: document.JWKSURI, Keys: keys}, nil
}

// ParseIssuer returns the issuer of a discovery document. It returns an error if the
// document is invalid or the issuer is missing.
func ParseIssuer(body []byte) (string, error) {
	document, err := parseConfiguration(body)
	return document.Issuer, err
}

// parseConfiguration parses a discovery document. It returns an error if the document is
// invalid or the issuer is missing.
func parseConfiguration(body []byte) (configuration, error) {
	var document configuration
	if err := json.Unmarshal(body, &document); err != nil {
		return configuration{}, fmt.Errorf("invalid JSON: %w", err)
	}
	if document.Issuer == "" {
		return configuration{}, errors.New("issuer is missing")
	}
	return document, nil
}

// read returns the response body of a GET request to url. It returns an error for another
// status than 200 and for a body that is larger than maxDocument.
func read(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", Accept)
	response, err := httpsOnlyRedirects(client).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return ReadBody(response)
}

// httpsOnlyRedirects returns a copy of client that follows no redirect from https to another
// scheme. Without TLS, an attacker on the network could replace the keys.
func httpsOnlyRedirects(client *http.Client) *http.Client {
	copied := *client
	copied.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		switch {
		case before[0].URL.Scheme == "https" && next.URL.Scheme != "https":
			return errors.New("redirect to a URL that does not start with https://")
		case client.CheckRedirect != nil:
			return client.CheckRedirect(next, before)
		case len(before) >= maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		default:
			return nil
		}
	}
	return &copied
}

// ReadBody returns the document in a response. It returns an error if the status is not 200
// or the body is larger than maxDocument.
func ReadBody(response *http.Response) ([]byte, error) {
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("server responded with %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("response is larger than %d bytes", maxDocument)
	}
	return body, nil
}

// redactURL returns a URL without its password.
func redactURL(value string) string {
	parsed, err := url.Parse(value)
	if err != nil {
		return "(invalid URL)"
	}
	return parsed.Redacted()
}
