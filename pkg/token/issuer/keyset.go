package issuer

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// ParseKeySet reads a JSON Web Key Set: of its keys those that Kubernetes can sign
// with. Others are passed over, as RFC 7517, section 5, wants it; a set in which
// there is a private key is refused, since anybody could sign by it.
func ParseKeySet(document []byte) (jose.JSONWebKeySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return jose.JSONWebKeySet{}, fmt.Errorf("it is not JSON as it should be: %w", err)
	}
	var set jose.JSONWebKeySet
	for number, encoded := range raw.Keys {
		if isPrivate(encoded) {
			return jose.JSONWebKeySet{}, fmt.Errorf("key %d is private: whoever reads it can sign tokens; replace it in the cluster, too", number+1)
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(encoded); err != nil || !isForSignatures(key) {
			continue
		}
		set.Keys = append(set.Keys, key)
	}
	if len(set.Keys) == 0 {
		return jose.JSONWebKeySet{}, errors.New("it has no public key, RSA or ECDSA, for signatures")
	}
	return set, nil
}

// isPrivate looks for the members that RFC 7518, sections 6.2.2, 6.3.2 and 6.4, has
// for private keys: d of RSA and ECDSA, k of symmetric ones.
func isPrivate(encoded []byte) bool {
	var members struct{ D, K json.RawMessage }
	return json.Unmarshal(encoded, &members) == nil && (members.D != nil || members.K != nil)
}

// isForSignatures says whether a key verifies what Kubernetes signs. RFC 7517,
// section 4.2, leaves the use open where there is none.
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
