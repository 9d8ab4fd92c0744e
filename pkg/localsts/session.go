package localsts

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// session is the session of temporary credentials. The server does not store sessions: the
// session token contains the session, encrypted. The state file contains the key. With a
// state file, credentials therefore survive a restart, as they do at AWS.
type session struct {
	AccessKeyID string    `json:"accessKeyId"`
	Secret      string    `json:"secret"`
	RoleID      string    `json:"roleId"`
	RoleName    string    `json:"roleName"`
	Name        string    `json:"name"`
	Expires     time.Time `json:"expires"`
	// Policy and PolicyARNs are the session policies. They are not evaluated, because
	// sessions have no permissions in this server.
	Policy     string   `json:"policy,omitempty"`
	PolicyARNs []string `json:"policyArns,omitempty"`
}

var errForeignSessionToken = errors.New("session token was not issued by this local-sts")

// newSession returns a session of a role with new keys.
func newSession(r *role, name string, expires time.Time) session {
	return session{
		// ASIA is the prefix of temporary keys (IAM User Guide, reference_identifiers).
		AccessKeyID: newID("ASIA", 20), Secret: newSecret(),
		RoleID: r.ID, RoleName: r.Name, Name: name, Expires: expires,
	}
}

// sealer returns the AEAD that encrypts and authenticates session tokens.
func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// token returns the session token: the session, encrypted with key.
func (s session) token(key []byte) (string, error) {
	aead, err := sealer(key)
	if err != nil {
		return "", fmt.Errorf("encrypt session: %w", err)
	}
	content, err := json.Marshal(s) //nolint:gosec // the content is encrypted
	if err != nil {
		return "", fmt.Errorf("encrypt session: %w", err)
	}
	return base64.StdEncoding.EncodeToString(aead.Seal(nil, nil, content, nil)), nil //nolint:gosec // this AEAD generates the nonce itself
}

// openSession decrypts a session token. It returns errForeignSessionToken if the token is
// not one that key encrypts.
func openSession(key []byte, token string) (session, error) {
	sealed, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return session{}, errForeignSessionToken
	}
	aead, err := sealer(key)
	if err != nil {
		return session{}, err
	}
	content, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return session{}, errForeignSessionToken
	}
	var s session
	if err := json.Unmarshal(content, &s); err != nil {
		return session{}, errForeignSessionToken
	}
	return s, nil
}
