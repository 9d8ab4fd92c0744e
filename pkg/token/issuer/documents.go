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

// Documents are what an issuer has to publish, as JSON.
type Documents struct{ Discovery, JWKS []byte }

// configuration is the discovery document as the API server writes it. All but the
// last two are required by OpenID Connect Discovery 1.0, section 3.
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
	for name, value := range map[string]string{"issuer": issuerURL, "JWKS URI": jwksURI} {
		if err := checkURL(value); err != nil {
			return Documents{}, fmt.Errorf("%s %q: %w", name, value, err)
		}
	}
	if len(keys) == 0 {
		return Documents{}, errors.New("an issuer without a public key can sign nothing")
	}
	var set jose.JSONWebKeySet
	var algorithms []string
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return Documents{}, err
		}
		algorithm, err := algorithmOf(key)
		if err != nil {
			return Documents{}, err
		}
		if len(set.Key(id)) > 0 {
			continue
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(algorithm), Use: "sig"})
		algorithms = append(algorithms, string(algorithm))
	}
	slices.Sort(algorithms)
	discovery, err := json.MarshalIndent(configuration{
		Issuer: issuerURL, JWKSURI: jwksURI,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: slices.Compact(algorithms),
	}, "", "  ")
	if err != nil {
		return Documents{}, fmt.Errorf("write the discovery document: %w", err)
	}
	jwks, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return Documents{}, fmt.Errorf("write the key set: %w", err)
	}
	return Documents{Discovery: append(discovery, '\n'), JWKS: append(jwks, '\n')}, nil
}

// checkURL holds a URL to what the API server and IAM take: OpenID Connect Discovery
// 1.0, section 2, and AWS's CreateOpenIDConnectProvider.
func checkURL(value string) error {
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
