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
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// DiscoveryPath is where below the issuer's URL the discovery document is
	// (OpenID Connect Discovery 1.0, section 4).
	DiscoveryPath = "/.well-known/openid-configuration"
	// timeout bounds each read of what somebody else publishes.
	timeout = 10 * time.Second
	// maxDocument is far more than an issuer publishes. An RSA key of 4096 bits
	// takes some 800 bytes.
	maxDocument = 1 << 20
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

// discoveryDocument is the part of the discovery document that matters here, as
// OpenID Connect Discovery 1.0, section 3, names it.
type discoveryDocument struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
}

// Discover reads an issuer's discovery document and public keys, as AWS does. A nil
// client is http.DefaultClient. Its error is a *DiscoveryError.
func Discover(ctx context.Context, client *http.Client, issuerURL string) (Issuer, error) {
	at := strings.TrimSuffix(issuerURL, "/") + DiscoveryPath
	var document discoveryDocument
	if err := read(ctx, client, at, &document); err != nil {
		return Issuer{}, &DiscoveryError{at, StepDiscovery, err}
	}
	switch {
	case document.Issuer != issuerURL:
		// Section 4.3: they must be the same to the letter.
		return Issuer{}, &DiscoveryError{at, StepDiscovery, fmt.Errorf("it is of the issuer %q, not of %q", document.Issuer, issuerURL)}
	case document.JWKSURI == "":
		return Issuer{}, &DiscoveryError{at, StepDiscovery, errors.New("it has no jwks_uri")}
	}
	keys, err := ReadKeys(ctx, client, document.JWKSURI)
	if err != nil {
		return Issuer{}, err
	}
	return Issuer{URL: document.Issuer, JWKSURI: document.JWKSURI, Keys: keys}, nil
}

// ReadKeys reads the public keys at a JWKS URI. Its error is a *DiscoveryError.
func ReadKeys(ctx context.Context, client *http.Client, jwksURI string) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	if err := read(ctx, client, jwksURI, &keys); err != nil {
		return jose.JSONWebKeySet{}, &DiscoveryError{jwksURI, StepKeySet, err}
	}
	if len(keys.Keys) == 0 {
		return jose.JSONWebKeySet{}, &DiscoveryError{jwksURI, StepKeySet, errors.New("it has no keys")}
	}
	return keys, nil
}

func read(ctx context.Context, client *http.Client, url string, into any) error {
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return err
	}
	if len(body) > maxDocument {
		return fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("it is not what it should be: %w", err)
	}
	return nil
}
