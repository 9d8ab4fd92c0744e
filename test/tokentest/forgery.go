// Package tokentest creates tokens that no API server would issue, for tests of their
// rejection.
package tokentest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/util/keyutil"
)

// keyBits is the usual size of RSA keys of Kubernetes issuers.
const keyBits = 2048

// SignWithUnknownKey returns a token with the claims and the header of another token,
// including the key ID, signed with an unknown key.
func SignWithUnknownKey(token string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", fmt.Errorf("create unknown key: %w", err)
	}
	return sign(token, key, func(map[string]any) {})
}

// Expired returns the token as if it was issued a day ago for an hour. keyFile has the
// issuer's private key in PEM.
func Expired(token, keyFile string) (string, error) {
	key, err := keyutil.PrivateKeyFromFile(keyFile)
	if err != nil {
		return "", fmt.Errorf("read issuer's key: %w", err)
	}
	issued := time.Now().Add(-24 * time.Hour)
	return sign(token, key, func(claims map[string]any) {
		claims["iat"], claims["nbf"], claims["exp"] = issued.Unix(), issued.Unix(), issued.Add(time.Hour).Unix()
	})
}

// RewriteFile replaces the token in a file with the result of change.
func RewriteFile(file string, change func(token string) (string, error)) error {
	token, err := os.ReadFile(file) //nolint:gosec // the test's own file
	if err != nil {
		return err
	}
	changed, err := change(string(token))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(changed), 0o600)
}

func sign(token string, key crypto.PrivateKey, change func(claims map[string]any)) (string, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", fmt.Errorf("parse token: %w", err)
	}
	claims := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", fmt.Errorf("parse claims: %w", err)
	}
	change(claims)
	options := (&jose.SignerOptions{}).WithHeader("kid", parsed.Headers[0].KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("sign changed token: %w", err)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
