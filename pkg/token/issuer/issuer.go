// Package issuer is about the OpenID Connect issuer of a cluster, which is its API
// server: it reads what an issuer publishes, verifies tokens by that, and writes
// what has to be published. It knows nothing of STS.
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
	// DiscoveryPath is where below the issuer's URL the discovery document is
	// (OpenID Connect Discovery 1.0, section 4).
	DiscoveryPath = "/.well-known/openid-configuration"
	// JWKSPath is where an API server has its keys, and by default we, too: what is
	// below the issuer's URL is then the same whoever serves it.
	JWKSPath = "/openid/v1/jwks"
	// Accept is what who reads an issuer's documents has to accept: API servers serve
	// keys as the latter (RFC 7517, section 8.5.2), and to nobody who does not.
	Accept = "application/json, application/jwk-set+json"
	// timeout bounds each read of what somebody else publishes.
	timeout = 10 * time.Second
	// maxDocument is far more than an issuer publishes. An RSA key of 4096 bits
	// takes some 800 bytes.
	maxDocument = 1 << 20
	// maxRedirects is net/http's own.
	maxRedirects = 10
)

// Step is a part of discovery.
type Step string

// The steps of discovery, in order.
const (
	StepDiscovery Step = "discovery document"
	StepKeySet    Step = "key set"
)

// DiscoveryError says which of an issuer's documents cannot be had or used.
type DiscoveryError struct {
	// URL is that of the document.
	URL  string
	Step Step
	Err  error
}

func (e *DiscoveryError) Error() string {
	return fmt.Sprintf("read the issuer's %s at %s: %v", e.Step, e.URL, e.Err)
}

func (e *DiscoveryError) Unwrap() error { return e.Err }

// Issuer is what an issuer publishes.
type Issuer struct {
	// URL is the issuer's, as in the claim iss of its tokens.
	URL string
	// JWKSURI is where its public keys are.
	JWKSURI string
	Keys    jose.JSONWebKeySet
}

// Discover reads an issuer's discovery document and public keys, as AWS does. A nil
// client is http.DefaultClient. Its error is a *DiscoveryError.
func Discover(ctx context.Context, client *http.Client, issuerURL string) (Issuer, error) {
	at := DiscoveryURL(issuerURL)
	body, err := read(ctx, client, at)
	if err != nil {
		return Issuer{}, &DiscoveryError{redactURL(at), StepDiscovery, err}
	}
	jwksURI, err := ParseDiscovery(body, issuerURL)
	if err != nil {
		return Issuer{}, &DiscoveryError{redactURL(at), StepDiscovery, err}
	}
	keys, err := ReadKeys(ctx, client, jwksURI)
	if err != nil {
		return Issuer{}, err
	}
	return Issuer{URL: issuerURL, JWKSURI: jwksURI, Keys: keys}, nil
}

// DiscoveryURL returns where an issuer's discovery document is. A slash at the
// issuer's end is not doubled (OpenID Connect Discovery 1.0, section 4.1).
func DiscoveryURL(issuerURL string) string {
	return strings.TrimSuffix(issuerURL, "/") + DiscoveryPath
}

// ReadKeys reads the public keys at a JWKS URI. Its error is a *DiscoveryError.
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

// ParseDiscovery returns the JWKS URI of a discovery document, which must be that of
// the issuer.
func ParseDiscovery(body []byte, issuerURL string) (string, error) {
	document, err := parseConfiguration(body)
	if err != nil {
		return "", err
	}
	switch {
	case document.Issuer != issuerURL:
		// Section 4.3: they must be the same to the letter.
		return "", fmt.Errorf("it is of the issuer %q, not of %q", document.Issuer, issuerURL)
	case document.JWKSURI == "":
		return "", errors.New("it has no jwks_uri")
	case strings.HasPrefix(issuerURL, "https://") && !strings.HasPrefix(document.JWKSURI, "https://"):
		// Section 3; whoever is between could have his own keys believed.
		return "", fmt.Errorf("its jwks_uri %q has to begin with https://", redactURL(document.JWKSURI))
	}
	return document.JWKSURI, nil
}

// Parse reads the documents of a source that is trusted to say whose they are, such as
// the API server by the caller's kubeconfig.
func Parse(documents Documents) (Issuer, error) {
	document, err := parseConfiguration(documents.Discovery)
	if err != nil {
		return Issuer{}, fmt.Errorf("read the discovery document: %w", err)
	}
	if document.Issuer == "" {
		return Issuer{}, errors.New("read the discovery document: it names no issuer")
	}
	keys, err := ParseKeySet(documents.JWKS)
	if err != nil {
		return Issuer{}, fmt.Errorf("read the key set: %w", err)
	}
	return Issuer{URL: document.Issuer, JWKSURI: document.JWKSURI, Keys: keys}, nil
}

func parseConfiguration(body []byte) (configuration, error) {
	var document configuration
	if err := json.Unmarshal(body, &document); err != nil {
		return configuration{}, fmt.Errorf("it is not JSON as it should be: %w", err)
	}
	return document, nil
}

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

// httpsOnlyRedirects returns a client that no redirect leads out of TLS: whoever is between
// could have his own keys believed.
func httpsOnlyRedirects(client *http.Client) *http.Client {
	careful := *client
	careful.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		switch {
		case before[0].URL.Scheme == "https" && next.URL.Scheme != "https":
			return errors.New("it redirects to a URL that does not begin with https://")
		case client.CheckRedirect != nil:
			return client.CheckRedirect(next, before)
		case len(before) >= maxRedirects:
			return fmt.Errorf("it redirects more than %d times", maxRedirects)
		default:
			return nil
		}
	}
	return &careful
}

// ReadBody returns what a server answers that was asked for a document: no more than
// a document can have, and with the status 200 alone.
func ReadBody(response *http.Response) ([]byte, error) {
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	return body, nil
}

// redactURL returns a URL as it may be shown.
func redactURL(value string) string {
	parsed, err := url.Parse(value)
	if err != nil {
		return "a URL that cannot be read"
	}
	return parsed.Redacted()
}
