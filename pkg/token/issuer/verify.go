package issuer

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// Reason is the reason why a token is invalid. The values are stable.
type Reason string

// The reasons, in the order of the checks.
const (
	Malformed     Reason = "malformed"
	UnknownKey    Reason = "unknown_key"
	BadSignature  Reason = "bad_signature"
	WrongIssuer   Reason = "wrong_issuer"
	WrongAudience Reason = "wrong_audience"
	Expired       Reason = "expired"
	NotYetValid   Reason = "not_yet_valid"
	WrongSubject  Reason = "wrong_subject"
)

// VerificationError is the error for an invalid token. It contains claims, which are not
// secret, but never the token.
type VerificationError struct {
	Reason Reason
	// Claim is the name of the invalid claim or header parameter: iss, aud, exp, nbf, sub or
	// kid. It is empty for errors of the whole token.
	Claim           string
	Found, Expected string
}

func (e *VerificationError) Error() string {
	if e.Claim == "" {
		return fmt.Sprintf("invalid token: %s, expected %s", e.Found, e.Expected)
	}
	return fmt.Sprintf("invalid token: %s is %s, expected %s", e.Claim, e.Found, e.Expected)
}

// Expected is the expected content of a token.
type Expected struct {
	// Audiences lists the accepted audiences. The token must have at least one of them. If
	// the list is empty, no token is valid.
	Audiences []string
	// Subject is the expected subject. If it is empty, any subject is valid.
	Subject string
	// Now returns the current time. The default is time.Now.
	Now func() time.Time
}

// notBeforeLeeway is how far the local clock can be behind the clock of the API server. Tokens
// are valid from the second in which the API server signs them. RFC 7519, section 4.1.5,
// permits a few minutes. The value is that of go-oidc.
const notBeforeLeeway = 5 * time.Minute

// Verify verifies a token with the issuer's keys and returns its claims. The error is always a
// *VerificationError.
func (i Issuer) Verify(ctx context.Context, raw string, want Expected) (token.Claims, error) {
	claims, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Claims{}, &VerificationError{Malformed, "", "malformed", "a ServiceAccount token: a JSON Web Token signed with RS256..512 or ES256..512"}
	}
	keys := i.keysOf(claims.KeyID)
	if len(keys) == 0 {
		return token.Claims{}, &VerificationError{UnknownKey, "kid", fmt.Sprintf("%q", claims.KeyID), "one of the keys at " + i.JWKSURI + ": " + i.keyIDs()}
	}
	// Use go-oidc only for the signature, because its verifier does not report which claim is
	// wrong. It accepts more algorithms, but ParseUnverified has already rejected all that
	// Kubernetes does not use.
	set := &oidc.StaticKeySet{PublicKeys: keys}
	if _, err := set.VerifySignature(ctx, raw); err != nil {
		return token.Claims{}, &VerificationError{BadSignature, "", "not signed with " + formatValue(claims.KeyID), "a valid signature"}
	}
	if err := i.check(claims, want); err != nil {
		return token.Claims{}, err
	}
	return claims, nil
}

// check returns an error for the first claim that is not as expected.
func (i Issuer) check(claims token.Claims, want Expected) error {
	now := time.Now
	if want.Now != nil {
		now = want.Now
	}
	at := now()
	switch {
	case claims.Issuer != i.URL:
		return &VerificationError{WrongIssuer, "iss", fmt.Sprintf("%q", claims.Issuer), fmt.Sprintf("%q", i.URL)}
	case !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(want.Audiences, a) }):
		return &VerificationError{WrongAudience, "aud", fmt.Sprintf("%q", claims.Audience), fmt.Sprintf("one of %q", want.Audiences)}
	case !claims.Expiry.After(at):
		return &VerificationError{Expired, "exp", formatTime(claims.Expiry), "a time after " + formatTime(at)}
	case claims.NotBefore.After(at.Add(notBeforeLeeway)):
		return &VerificationError{NotYetValid, "nbf", formatTime(claims.NotBefore), "a time not after " + formatTime(at)}
	case want.Subject != "" && claims.Subject != want.Subject:
		return &VerificationError{WrongSubject, "sub", fmt.Sprintf("%q", claims.Subject), fmt.Sprintf("%q", want.Subject)}
	}
	return nil
}

// keysOf returns the keys with an ID, or all keys if the token contains no key ID.
func (i Issuer) keysOf(id string) []crypto.PublicKey {
	var keys []crypto.PublicKey
	for _, key := range i.Keys.Keys {
		if (id == "" || key.KeyID == id) && isForSignatures(key) {
			keys = append(keys, key.Key)
		}
	}
	return keys
}

// keyIDs returns the IDs of all keys for an error message.
func (i Issuer) keyIDs() string {
	var ids []string
	for _, key := range i.Keys.Keys {
		ids = append(ids, fmt.Sprintf("%q", key.KeyID))
	}
	return strings.Join(ids, ", ")
}

// formatValue returns a description of the key for an error message.
func formatValue(keyID string) string {
	if keyID == "" {
		return "any of the issuer's keys"
	}
	return fmt.Sprintf("the issuer's key %q", keyID)
}

// formatTime formats a time in a claim for an error message.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return "missing"
	}
	return t.UTC().Format(time.RFC3339)
}
