package localsts

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an error that the server returns in AWS's format.
type apiError struct {
	code, message string
	status        int
}

func (f *apiError) Error() string { return f.code + ": " + f.message }

// newAPIError returns an apiError with an HTTP status, an error code and a message.
func newAPIError(status int, code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: status}
}

// The following errors exist in both APIs: "Common Error Types" of the STS and IAM API
// references. AWS does not document their messages. These are the messages that users report.

func invalidAction(action, version string) error {
	return newAPIError(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", action, version)
}

func missingAction() error {
	return newAPIError(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action.")
}

func malformedQuery(detail string) error {
	return newAPIError(http.StatusNotFound, "MalformedQueryString", "The query string contains a syntax error: %s", detail)
}

func validationError(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "ValidationError", format, args...)
}

// The following errors are those of IAM, with the HTTP statuses of its API reference.

func noSuchEntity(format string, args ...any) error {
	return newAPIError(http.StatusNotFound, "NoSuchEntity", format, args...)
}

func alreadyExists(format string, args ...any) error {
	return newAPIError(http.StatusConflict, "EntityAlreadyExists", format, args...)
}

func deleteConflict(format string, args ...any) error {
	return newAPIError(http.StatusConflict, "DeleteConflict", format, args...)
}

// limitExceeded returns IAM's error for a quota (IAM User Guide, reference_iam-quotas).
func limitExceeded(quota string, limit int) error {
	return newAPIError(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for %s: %d", quota, limit)
}

func invalidInput(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "InvalidInput", format, args...)
}

func malformedPolicy(message string) error {
	return newAPIError(http.StatusBadRequest, "MalformedPolicyDocument", "%s", message)
}

// The following errors are those of AssumeRoleWithWebIdentity.

func invalidIdentityToken(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "InvalidIdentityToken", format, args...)
}

// notAuthorized returns the error for a token that the trust policy does not allow. It is
// also the error for a role that does not exist, so that callers cannot find out which roles
// exist.
func notAuthorized() error {
	return newAPIError(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

// internalError returns the error for a failure of the server. The cause is only in the log.
func internalError() *apiError {
	return newAPIError(http.StatusInternalServerError, "InternalFailure",
		"The request processing has failed because of an unknown error, exception or failure.")
}

// kind returns AWS's error type: Receiver for a failure of the server, Sender for an error
// of the caller.
func (f *apiError) kind() string {
	if f.status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}

// stripControlChars replaces each sequence of white space in s with one space and trims s.
// Untrusted input cannot add line breaks to a message then. parseQuery has already rejected
// other control characters.
func stripControlChars(s string) string { return strings.Join(strings.Fields(s), " ") }
