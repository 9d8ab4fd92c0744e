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

// lookupSecret returns the secret of the access key in the signature, and the caller that it
// belongs to. It returns AWS's error if the access key or the session token is not valid, or
// if the session has expired.
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
	// AWS does not document that credentials become invalid when their role is deleted.
	// Users report it.
	if r := a.Roles[opened.RoleName]; r == nil || r.ID != opened.RoleID {
		return "", caller{}, invalidClientToken()
	}
	return opened.Secret, opened.caller(a), nil
}

// authenticate verifies the signature of a request and returns the caller that signed it.
// AWS documents only that an unknown key is reported before a wrong signature. The rest of
// the order of the checks is a guess.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (caller, error) {
	given, err := parseSignature(r)
	if err != nil {
		return caller{}, err
	}
	secret, signer, err := s.lookupSecret(s.store.view(), given)
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
	return signer, nil
}

// checkTime returns an error if the signature is not yet valid, or not valid any more.
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

// checkScope returns an error if the scope of the credential does not match the date or the
// service of the call. It accepts every region, because this server replaces the STS of
// every region.
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

// checkHeaders returns an error if a header that must be signed is not signed. These are host
// and each header that starts with x-amz- (IAM User Guide,
// reference_sigv-create-signed-request, "Canonical headers").
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

// recompute signs the request again with secret and the signer of AWS's SDK, and returns the
// signature.
func (s signature) recompute(r *http.Request, body []byte, secret string) (string, error) {
	copied := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range s.signedHeaders {
		switch values := r.Header.Values(name); {
		case name == "content-length":
			copied.ContentLength = r.ContentLength
		case name != "host" && len(values) > 0:
			copied.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	// The request already contains the session token as a header or parameter, so the signer
	// must not add it.
	credentials := aws.Credentials{AccessKeyID: s.accessKeyID, SecretAccessKey: secret}
	keepAsSent := func(o *v4.SignerOptions) { o.DisableSessionToken, o.DisableHeaderHoisting = true, true }
	signer := v4.NewSigner(keepAsSent)
	if s.presigned {
		query := copied.URL.Query()
		query.Del(querySignature)
		copied.URL.RawQuery = query.Encode()
		signed, _, err := signer.PresignHTTP(r.Context(), credentials, copied, hash, s.service, s.region, s.time)
		if err != nil {
			return "", fmt.Errorf("sign the request again: %w", err)
		}
		resigned, err := url.Parse(signed)
		if err != nil {
			return "", fmt.Errorf("sign the request again: %w", err)
		}
		return resigned.Query().Get(querySignature), nil
	}
	if err := signer.SignHTTP(r.Context(), credentials, copied, hash, s.service, s.region, s.time); err != nil {
		return "", fmt.Errorf("sign the request again: %w", err)
	}
	_, value, _ := strings.Cut(copied.Header.Get("Authorization"), "Signature=")
	return value, nil
}
