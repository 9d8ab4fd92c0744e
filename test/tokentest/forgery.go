// Package tokentest makes tokens that an API server would not, for tests of those
// who have to refuse them.
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

// keyBits is the size of the keys that Kubernetes' issuers usually have.
const keyBits = 2048

// SignWithUnknownKey returns a token with the claims and the header of another, the id
// of the key included, signed by a key that nobody knows.
func SignWithUnknownKey(token string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", fmt.Errorf("make a foreign key: %w", err)
	}
	return sign(token, key, func(map[string]any) {})
}

// Expired returns a token as the issuer signed it a day ago for an hour, with
// the issuer's private key, which the file has in PEM.
func Expired(token, keyFile string) (string, error) {
	key, err := keyutil.PrivateKeyFromFile(keyFile)
	if err != nil {
		return "", fmt.Errorf("read the issuer's key: %w", err)
	}
	issued := time.Now().Add(-24 * time.Hour)
	return sign(token, key, func(claims map[string]any) {
		claims["iat"], claims["nbf"], claims["exp"] = issued.Unix(), issued.Unix(), issued.Add(time.Hour).Unix()
	})
}

// RewriteFile puts what change makes of the token in a file into its place.
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
		return "", fmt.Errorf("read the token to change: %w", err)
	}
	claims := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", fmt.Errorf("read the claims to change: %w", err)
	}
	change(claims)
	options := (&jose.SignerOptions{}).WithHeader("kid", parsed.Headers[0].KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("sign the changed token: %w", err)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
