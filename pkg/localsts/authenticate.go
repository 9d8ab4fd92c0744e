package localsts

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// lookupSecret returns the secret of an access key, and whose it is.
func (s *Server) lookupSecret(a *account, given signature) (string, caller, error) {
	if subtle.ConstantTimeCompare([]byte(given.accessKeyID), []byte(s.options.AdminAccessKeyID)) == 1 {
		if given.sessionToken != "" {
			return "", caller{}, invalidClientToken()
		}
		return s.options.AdminSecretAccessKey, s.admin(a), nil
	}
	opened, err := openSession(a.SessionKey, given.sessionToken)
	if errors.Is(err, errForeignSessionToken) || err == nil && opened.AccessKeyID != given.accessKeyID {
		return "", caller{}, invalidClientToken()
	}
	if err != nil {
		return "", caller{}, err
	}
	if !opened.Expires.After(s.options.Now()) {
		return "", caller{}, expiredToken()
	}
	// That credentials end with their role is not documented. It is what users see.
	if r := a.Roles[opened.RoleName]; r == nil || r.ID != opened.RoleID {
		return "", caller{}, invalidClientToken()
	}
	return opened.Secret, opened.caller(a), nil
}

// authenticate says who has signed a request. The order of its checks is a guess:
// AWS documents none, but that an unknown key is told before a bad signature.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (caller, error) {
	given, err := parseSignature(r)
	if err != nil {
		return caller{}, err
	}
	secret, who, err := s.lookupSecret(s.store.view(), given)
	if err != nil {
		return caller{}, err
	}
	if err := given.checkTime(s.options.Now()); err != nil {
		return caller{}, err
	}
	if err := given.checkScope(service); err != nil {
		return caller{}, err
	}
	if err := given.checkHeaders(r); err != nil {
		return caller{}, err
	}
	expected, err := given.recompute(r, body, secret)
	if err != nil {
		return caller{}, err
	}
	if subtle.ConstantTimeCompare([]byte(given.value), []byte(expected)) != 1 {
		return caller{}, signatureDoesNotMatch("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return who, nil
}

func (s signature) checkTime(now time.Time) error {
	now = now.UTC()
	if s.time.After(now.Add(skew)) {
		return signatureDoesNotMatch("Signature not yet current: %s is still later than %s (%s + %d min.)",
			s.time.Format(signedTime), now.Add(skew).Format(signedTime), now.Format(signedTime), int(skew.Minutes()))
	}
	if now.After(s.time.Add(s.validFor)) {
		return signatureDoesNotMatch("Signature expired: %s is now earlier than %s (%s - %d min.)",
			s.time.Format(signedTime), now.Add(-s.validFor).Format(signedTime), now.Format(signedTime), int(s.validFor.Minutes()))
	}
	return nil
}

// checkScope holds the credential's scope to the call. Any region is right: each
// has an STS, and this one stands for all.
func (s signature) checkScope(service string) error {
	if day := s.time.Format(signedDate); s.date != day {
		return signatureDoesNotMatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			s.date, day, s.time.Format(signedTime))
	}
	if s.service != service {
		return signatureDoesNotMatch("Credential should be scoped to correct service: '%s'.", service)
	}
	return nil
}

// checkHeaders sees that what has to be signed is: host, and each header of AWS's
// (IAM User Guide, reference_sigv-create-signed-request, "Canonical headers").
func (s signature) checkHeaders(r *http.Request) error {
	if !slices.Contains(s.signedHeaders, "host") {
		return signatureDoesNotMatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(s.signedHeaders, lower) {
			return signatureDoesNotMatch("'%s' must be a 'SignedHeader' in the AWS Authorization.", lower)
		}
	}
	return nil
}

// recompute signs the same request anew with AWS's own signer, and returns the
// signature.
func (s signature) recompute(r *http.Request, body []byte, secret string) (string, error) {
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range s.signedHeaders {
		switch values := r.Header.Values(name); {
		case name == "content-length":
			again.ContentLength = r.ContentLength
		case name != "host" && len(values) > 0:
			again.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	// The session token is a header, or a parameter, of the request already.
	credentials := aws.Credentials{AccessKeyID: s.accessKeyID, SecretAccessKey: secret}
	asGiven := func(o *v4.SignerOptions) { o.DisableSessionToken, o.DisableHeaderHoisting = true, true }
	signer := v4.NewSigner(asGiven)
	if s.presigned {
		query := again.URL.Query()
		query.Del(querySignature)
		again.URL.RawQuery = query.Encode()
		signed, _, err := signer.PresignHTTP(r.Context(), credentials, again, hash, s.service, s.region, s.time)
		if err != nil {
			return "", fmt.Errorf("sign the request again: %w", err)
		}
		anew, err := url.Parse(signed)
		if err != nil {
			return "", fmt.Errorf("sign the request again: %w", err)
		}
		return anew.Query().Get(querySignature), nil
	}
	if err := signer.SignHTTP(r.Context(), credentials, again, hash, s.service, s.region, s.time); err != nil {
		return "", fmt.Errorf("sign the request again: %w", err)
	}
	_, value, _ := strings.Cut(again.Header.Get("Authorization"), "Signature=")
	return value, nil
}
