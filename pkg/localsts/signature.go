package localsts

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	// signedTime and signedDate are the formats of the time and the date of a signature.
	signedTime = "20060102T150405Z"
	signedDate = "20060102"
	// skew is the maximum difference between the time of a signature and the server's time.
	// STS uses 15 minutes, according to its error message (aws/aws-cli issue 6676) and to
	// the common errors of the query APIs (RequestExpired). The IAM User Guide gives five
	// minutes, "in most cases" (reference_sigv).
	skew = 15 * time.Minute
	// maxPresignedExpiry is the maximum of X-Amz-Expires (IAM User Guide,
	// reference_sigv-authentication-methods: 604800 seconds).
	maxPresignedExpiry = 7 * 24 * time.Hour
)

// The parameters of a signature in the query string.
const (
	queryAlgorithm     = "X-Amz-Algorithm"
	queryCredential    = "X-Amz-Credential" //nolint:gosec // the name of a parameter
	queryDate          = "X-Amz-Date"
	queryExpires       = "X-Amz-Expires"
	querySignedHeaders = "X-Amz-SignedHeaders"
	querySignature     = "X-Amz-Signature"
	querySecurityToken = "X-Amz-Security-Token" //nolint:gosec // the name of a parameter
)

// signature is the signature of a request, from its Authorization header or its query
// string (IAM User Guide, reference_sigv-create-signed-request).
type signature struct {
	accessKeyID, date, region, service string
	signedHeaders                      []string
	value                              string
	time                               time.Time
	sessionToken                       string
	// presigned reports whether the signature is in the query string.
	presigned bool
	// validFor is how long the signature is valid: X-Amz-Expires if it is presigned and has
	// that parameter, and skew otherwise.
	validFor time.Duration
}

func missingAuthentication() error {
	return newAPIError(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
}

func incompleteSignature(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "IncompleteSignature", format, args...)
}

func signatureDoesNotMatch(format string, args ...any) error {
	return newAPIError(http.StatusForbidden, "SignatureDoesNotMatch", format, args...)
}

func invalidClientToken() error {
	return newAPIError(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

func expiredToken() error {
	return newAPIError(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
}

// parseSignature parses the signature of a request. It returns an error if the request has
// no signature or a malformed one. It does not verify the signature.
func parseSignature(r *http.Request) (signature, error) {
	query := r.URL.Query()
	header := r.Header.Get("Authorization")
	switch {
	case header != "":
		return parseHeader(header, r.Header)
	case query.Has(queryAlgorithm) || query.Has(querySignature):
		return parsePresigned(query)
	default:
		return signature{}, missingAuthentication()
	}
}

// parseHeader parses a signature in the Authorization header.
func parseHeader(header string, headers http.Header) (signature, error) {
	name, rest, _ := strings.Cut(header, " ")
	if name != algorithm {
		return signature{}, incompleteSignature("Unsupported signature algorithm: use %s.", algorithm)
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[key] = value
	}
	var missing []string
	for _, field := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[field] == "" {
			missing = append(missing, fmt.Sprintf("Authorization header requires '%s' parameter.", field))
		}
	}
	date := headers.Get(queryDate)
	if date == "" {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if len(missing) > 0 {
		return signature{}, incompleteSignature("%s", strings.Join(missing, " "))
	}
	s := signature{
		value: fields["Signature"], signedHeaders: strings.Split(fields["SignedHeaders"], ";"),
		sessionToken: headers.Get(querySecurityToken), validFor: skew,
	}
	return s.with(fields["Credential"], date)
}

// parsePresigned parses a signature in the query string.
func parsePresigned(query url.Values) (signature, error) {
	for _, name := range []string{queryAlgorithm, queryCredential, querySignature, querySignedHeaders, queryDate} {
		if query.Get(name) == "" {
			return signature{}, incompleteSignature("AWS query-string parameters must include '%s'.", name)
		}
	}
	if query.Get(queryAlgorithm) != algorithm {
		return signature{}, incompleteSignature("Unsupported signature algorithm: use %s.", algorithm)
	}
	s := signature{
		value: query.Get(querySignature), signedHeaders: strings.Split(query.Get(querySignedHeaders), ";"),
		sessionToken: query.Get(querySecurityToken), presigned: true, validFor: skew,
	}
	if given := query.Get(queryExpires); given != "" {
		seconds, err := strconv.Atoi(given)
		if err != nil || seconds < 1 || seconds > int(maxPresignedExpiry/time.Second) {
			return signature{}, incompleteSignature("X-Amz-Expires must be from 1 to %d seconds.", int(maxPresignedExpiry/time.Second))
		}
		s.validFor = time.Duration(seconds) * time.Second
	}
	return s.with(query.Get(queryCredential), query.Get(queryDate))
}

// with returns s with the parts of the credential and the time in date. It returns an error
// if either is malformed.
func (s signature) with(credential, date string) (signature, error) {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != "aws4_request" || slices.Contains(parts, "") {
		return signature{}, incompleteSignature("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	s.accessKeyID, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	var err error
	if s.time, err = time.Parse(signedTime, date); err != nil {
		return signature{}, incompleteSignature("Date must be in ISO-8601 'basic format', as %s.", signedTime)
	}
	return s, nil
}
