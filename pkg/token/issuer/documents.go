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

// Documents are the JSON documents that an issuer publishes. For the same keys they are
// byte-for-byte equal to those of the API server, so that the two can be compared.
type Documents struct{ Discovery, JWKS []byte }

// configuration is the discovery document in the format of the API server. OpenID Connect
// Discovery 1.0, section 3, requires all of its fields.
type configuration struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// NewDocuments returns the documents of an issuer with the key set at jwksURI. During a
// rotation there are several keys. The key set has them in the same order, without duplicates.
// It returns an error if a URL is invalid, there is no key, or a key is not supported.
func NewDocuments(issuerURL, jwksURI string, keys []crypto.PublicKey) (Documents, error) {
	set, err := KeySet(keys)
	if err != nil {
		return Documents{}, err
	}
	return DocumentsOf(issuerURL, jwksURI, set)
}

// KeySet returns the key set that the API server publishes for these keys. It returns an error
// if a key is not supported.
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

// DocumentsOf returns the documents of an issuer for keys that already have IDs. The IDs of an
// external signer (KEP-740) can differ from those that Kubernetes computes. It returns an
// error if a URL is invalid, there is no key, or a key is not supported.
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
			return Documents{}, fmt.Errorf("key %q is not a public RSA or ECDSA key for signatures", key.KeyID)
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
		return Documents{}, errors.New("no public key to publish")
	}
	slices.Sort(algorithms)
	discovery, err := json.Marshal(configuration{
		Issuer: issuerURL, JWKSURI: jwksURI,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: slices.Compact(algorithms),
	})
	if err != nil {
		return Documents{}, fmt.Errorf("encode discovery document: %w", err)
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return Documents{}, fmt.Errorf("encode key set: %w", err)
	}
	return Documents{Discovery: discovery, JWKS: jwks}, nil
}

// isSame reports whether two keys are equal. It compares the ID and the key itself, because
// IDs are optional and external signers choose them.
func isSame(a, b jose.JSONWebKey) bool {
	key, ok := a.Key.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && a.KeyID == b.KeyID && key.Equal(b.Key)
}

// CheckURL returns an error if the API server or IAM does not accept a URL as an issuer. The
// sources are section 2 of OpenID Connect Discovery 1.0 and AWS's CreateOpenIDConnectProvider.
func CheckURL(value string) error {
	parsed, err := url.Parse(value)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case parsed.Scheme != "https":
		return errors.New("must start with https://")
	case parsed.Host == "":
		return errors.New("has no host")
	case parsed.User != nil, parsed.RawQuery != "", parsed.Fragment != "":
		return errors.New("must not have a user, query or fragment")
	}
	return nil
}

// algorithmOf returns the algorithm that the API server uses with a key. It returns an error if
// the API server does not sign with such keys.
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
			return "", fmt.Errorf("API servers do not sign with curve %s", key.Curve.Params().Name)
		}
	default:
		return "", fmt.Errorf("API servers do not sign with a %T", key)
	}
}
