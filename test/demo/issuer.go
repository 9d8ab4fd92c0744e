package main

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// verify does what IAM and STS do with a token, and as they do, without any
// right in the cluster: it reads the issuer's discovery document and its keys,
// takes the key that the token names, and verifies signature, issuer, audience
// and expiry.
func verify(ctx context.Context, client *http.Client, issuer, audience, keyID, rawToken string) error {
	ctx = oidc.ClientContext(ctx, client)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return fmt.Errorf("read the discovery document: %w", err)
	}
	var document struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return fmt.Errorf("read the discovery document: %w", err)
	}
	keys, err := readKeys(ctx, client, document.KeysURL)
	if err != nil {
		return fmt.Errorf("read the issuer's keys: %w", err)
	}
	named := keys.Key(keyID)
	if len(named) != 1 {
		return fmt.Errorf("the issuer publishes %d keys with the id %q, want 1", len(named), keyID)
	}
	key := &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{named[0].Key}}
	_, err = oidc.NewVerifier(issuer, key, &oidc.Config{ClientID: audience}).Verify(ctx, rawToken)
	return err
}

func readKeys(ctx context.Context, client *http.Client, url string) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return keys, err
	}
	response, err := client.Do(request)
	if err != nil {
		return keys, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return keys, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return keys, json.NewDecoder(response.Body).Decode(&keys)
}
