package issuer

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// ParseKeySet returns the keys in a JSON Web Key Set that Kubernetes can sign with. It ignores
// other keys, as RFC 7517, section 5, requires. It returns an error if the set contains none
// of these keys. It also returns an error if the set contains a private key, because anyone
// who can read the set could sign tokens.
func ParseKeySet(document []byte) (jose.JSONWebKeySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return jose.JSONWebKeySet{}, fmt.Errorf("invalid JSON: %w", err)
	}
	var set jose.JSONWebKeySet
	for number, encoded := range raw.Keys {
		if isPrivate(encoded) {
			return jose.JSONWebKeySet{}, fmt.Errorf("key %d is private: anyone who reads it can sign tokens; replace the key here and in the cluster", number+1)
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(encoded); err != nil || !isForSignatures(key) {
			continue
		}
		set.Keys = append(set.Keys, key)
	}
	if len(set.Keys) == 0 {
		return jose.JSONWebKeySet{}, errors.New("no public RSA or ECDSA key for signatures")
	}
	return set, nil
}

// isPrivate reports whether a key has a member of private keys. The member is d for RSA and
// ECDSA, and k for symmetric keys (RFC 7518, sections 6.2.2, 6.3.2 and 6.4).
func isPrivate(encoded []byte) bool {
	var members struct{ D, K json.RawMessage }
	return json.Unmarshal(encoded, &members) == nil && (members.D != nil || members.K != nil)
}

// isForSignatures reports whether a key can verify signatures of Kubernetes. A key without the
// member use can be for signatures (RFC 7517, section 4.2).
func isForSignatures(key jose.JSONWebKey) bool {
	if !key.Valid() || (key.Use != "" && key.Use != "sig") {
		return false
	}
	switch key.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return true
	default:
		return false
	}
}
