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

// session is what temporary credentials stand for. It is nowhere but in its own
// session token, sealed: nothing has to be kept or forgotten, and with a state
// file, which holds the key, credentials outlive a restart as they do at AWS.
type session struct {
	AccessKeyID string    `json:"accessKeyId"`
	Secret      string    `json:"secret"`
	RoleID      string    `json:"roleId"`
	RoleName    string    `json:"roleName"`
	Name        string    `json:"name"`
	Expires     time.Time `json:"expires"`
	// Policy and PolicyARNs are the session policies: they are carried, and nothing
	// asks for them, since the credentials open nothing.
	Policy     string   `json:"policy,omitempty"`
	PolicyARNs []string `json:"policyArns,omitempty"`
}

var errForeignSessionToken = errors.New("the session token is not one of this local-sts")

func newSession(r *role, name string, expires time.Time) session {
	return session{
		// ASIA is the prefix of temporary keys (IAM User Guide, reference_identifiers).
		AccessKeyID: newID("ASIA", 20), Secret: newSecret(),
		RoleID: r.ID, RoleName: r.Name, Name: name, Expires: expires,
	}
}

func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// token returns the session token.
func (s session) token(key []byte) (string, error) {
	aead, err := sealer(key)
	if err != nil {
		return "", fmt.Errorf("seal a session: %w", err)
	}
	content, err := json.Marshal(s) //nolint:gosec // it is sealed
	if err != nil {
		return "", fmt.Errorf("seal a session: %w", err)
	}
	return base64.StdEncoding.EncodeToString(aead.Seal(nil, nil, content, nil)), nil //nolint:gosec // this AEAD draws the nonce itself
}

// openSession returns what a session token seals.
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
