package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Documents are what an issuer has to publish, as JSON: to the byte what the API
// server would serve for the same keys, so that the two can be compared.
type Documents struct{ Discovery, JWKS []byte }

// configuration is the discovery document as the API server writes it. All of it is
// required by OpenID Connect Discovery 1.0, section 3.
type configuration struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// NewDocuments returns the documents of an issuer, whose public keys are to be had at
// jwksURI. Several keys are for a rotation: the order is that of keys, and the same
// key is published once.
func NewDocuments(issuerURL, jwksURI string, keys []crypto.PublicKey) (Documents, error) {
	set, err := KeySet(keys)
	if err != nil {
		return Documents{}, err
	}
	return DocumentsOf(issuerURL, jwksURI, set)
}

// KeySet returns public keys as the API server publishes them.
func KeySet(keys []crypto.PublicKey) (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return jose.JSONWebKeySet{}, err
		}
		algorithm, err := algorithmOf(key)
		if err != nil {
			return jose.JSONWebKeySet{}, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(algorithm), Use: "sig"})
	}
	return set, nil
}

// DocumentsOf returns the documents of an issuer with keys that have their ids
// already: an external signer's (KEP-740) need not be those that Kubernetes computes.
func DocumentsOf(issuerURL, jwksURI string, keys jose.JSONWebKeySet) (Documents, error) {
	if err := CheckURL(issuerURL); err != nil {
		return Documents{}, fmt.Errorf("issuer %q: %w", issuerURL, err)
	}
	if err := CheckURL(jwksURI); err != nil {
		return Documents{}, fmt.Errorf("JWKS URI %q: %w", jwksURI, err)
	}
	var set jose.JSONWebKeySet
	var algorithms []string
	for _, key := range keys.Keys {
		if !isForSignatures(key) {
			return Documents{}, fmt.Errorf("key %q: it is no public key, RSA or ECDSA, for signatures", key.KeyID)
		}
		if slices.ContainsFunc(set.Keys, func(other jose.JSONWebKey) bool { return isSame(other, key) }) {
			continue
		}
		if key.Algorithm == "" {
			algorithm, err := algorithmOf(key.Key)
			if err != nil {
				return Documents{}, fmt.Errorf("key %q: %w", key.KeyID, err)
			}
			key.Algorithm = string(algorithm)
		}
		set.Keys = append(set.Keys, key)
		algorithms = append(algorithms, key.Algorithm)
	}
	if len(set.Keys) == 0 {
		return Documents{}, errors.New("an issuer without a public key can sign nothing")
	}
	slices.Sort(algorithms)
	discovery, err := json.Marshal(configuration{
		Issuer: issuerURL, JWKSURI: jwksURI,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: slices.Compact(algorithms),
	})
	if err != nil {
		return Documents{}, fmt.Errorf("write the discovery document: %w", err)
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return Documents{}, fmt.Errorf("write the key set: %w", err)
	}
	return Documents{Discovery: discovery, JWKS: jwks}, nil
}

// isSame says whether two keys are one. The id alone does not tell: it is optional,
// and of an external signer's making.
func isSame(a, b jose.JSONWebKey) bool {
	key, ok := a.Key.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && a.KeyID == b.KeyID && key.Equal(b.Key)
}

// CheckURL holds a URL to what the API server and IAM take for an issuer: OpenID
// Connect Discovery 1.0, section 2, and AWS's CreateOpenIDConnectProvider.
func CheckURL(value string) error {
	parsed, err := url.Parse(value)
	switch {
	case err != nil:
		return errors.New("it is not a URL")
	case parsed.Scheme != "https":
		return errors.New("it has to begin with https://")
	case parsed.Host == "":
		return errors.New("it has no host")
	case parsed.User != nil, parsed.RawQuery != "", parsed.Fragment != "":
		return errors.New("it may have no user, query or fragment")
	}
	return nil
}

// algorithmOf returns what the API server signs with, given such a key.
func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		default:
			return "", fmt.Errorf("the API server does not sign with the curve %s", key.Curve.Params().Name)
		}
	default:
		return "", fmt.Errorf("the API server does not sign with a %T", key)
	}
}
