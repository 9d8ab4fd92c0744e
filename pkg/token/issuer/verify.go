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

// Reason says why a token is not good. It is stable.
type Reason string

// Why a token is not good, in the order in which it is looked at.
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

// VerificationError says what of a token is not as expected. It never quotes the
// token, only claims that are no secret.
type VerificationError struct {
	Reason Reason
	// Claim is the name of the claim or of the header's member: iss, aud, exp, nbf,
	// sub, kid; empty for the token as a whole.
	Claim           string
	Found, Expected string
}

func (e *VerificationError) Error() string {
	if e.Claim == "" {
		return fmt.Sprintf("the token is not good: it is %s, expected %s", e.Found, e.Expected)
	}
	return fmt.Sprintf("the token is not good: its %s is %s, expected %s", e.Claim, e.Found, e.Expected)
}

// Expected is what a token has to be.
type Expected struct {
	// Audiences are those of which the token must have one. None is an error of the
	// caller's: a token that is for anybody is good for nothing.
	Audiences []string
	// Subject is whose it is; empty for anybody's.
	Subject string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// notBeforeLeeway is how far the clock of who verifies may be behind that of the API
// server, whose tokens are valid from the second in which they are signed. RFC 7519,
// section 4.1.5, permits a few minutes; it is as many as go-oidc has.
const notBeforeLeeway = 5 * time.Minute

// Verify verifies a token by what the issuer publishes, and returns its claims. Its
// error is a *VerificationError.
func (i Issuer) Verify(ctx context.Context, raw string, want Expected) (token.Claims, error) {
	claims, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Claims{}, &VerificationError{Malformed, "", "malformed", "a ServiceAccount token: a JSON Web Token signed with RS256..512 or ES256..512"}
	}
	keys := i.keysOf(claims.KeyID)
	if len(keys) == 0 {
		return token.Claims{}, &VerificationError{UnknownKey, "kid", fmt.Sprintf("%q", claims.KeyID), "one of the keys at " + i.JWKSURI + ": " + i.keyIDs()}
	}
	// The signature alone is go-oidc's: its verifier does not say which claim is wrong.
	// It takes more algorithms, but ParseUnverified has refused all but Kubernetes' own.
	set := &oidc.StaticKeySet{PublicKeys: keys}
	if _, err := set.VerifySignature(ctx, raw); err != nil {
		return token.Claims{}, &VerificationError{BadSignature, "", "not signed with " + formatValue(claims.KeyID), "a signature by it"}
	}
	if err := i.check(claims, want); err != nil {
		return token.Claims{}, err
	}
	return claims, nil
}

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

// keysOf returns the keys with an id: all for a token that names none.
func (i Issuer) keysOf(id string) []crypto.PublicKey {
	var keys []crypto.PublicKey
	for _, key := range i.Keys.Keys {
		if (id == "" || key.KeyID == id) && isForSignatures(key) {
			keys = append(keys, key.Key)
		}
	}
	return keys
}

func (i Issuer) keyIDs() string {
	var ids []string
	for _, key := range i.Keys.Keys {
		ids = append(ids, fmt.Sprintf("%q", key.KeyID))
	}
	return strings.Join(ids, ", ")
}

func formatValue(keyID string) string {
	if keyID == "" {
		return "any of the issuer's keys"
	}
	return fmt.Sprintf("the issuer's key %q", keyID)
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return "missing"
	}
	return t.UTC().Format(time.RFC3339)
}
