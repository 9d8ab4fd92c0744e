package localsts

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an error as AWS answers it.
type apiError struct {
	code, message string
	status        int
}

func (f *apiError) Error() string { return f.code + ": " + f.message }

func newAPIError(status int, code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: status}
}

// The errors that both APIs have: "Common Error Types" of the STS and IAM API
// references. Their messages are not documented; these are as users report them.
func invalidAction(action, version string) error {
	return newAPIError(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", action, version)
}

func missingAction() error {
	return newAPIError(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action.")
}

func malformedQuery(what string) error {
	return newAPIError(http.StatusNotFound, "MalformedQueryString", "The query string contains a syntax error: %s", what)
}

func validationError(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "ValidationError", format, args...)
}

// The errors of IAM, with the HTTP statuses of its API reference.
func noSuchEntity(format string, args ...any) error {
	return newAPIError(http.StatusNotFound, "NoSuchEntity", format, args...)
}

func alreadyExists(format string, args ...any) error {
	return newAPIError(http.StatusConflict, "EntityAlreadyExists", format, args...)
}

func deleteConflict(format string, args ...any) error {
	return newAPIError(http.StatusConflict, "DeleteConflict", format, args...)
}

// limitExceeded names a quota as IAM does (IAM User Guide, reference_iam-quotas).
func limitExceeded(quota string, limit int) error {
	return newAPIError(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for %s: %d", quota, limit)
}

func invalidInput(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "InvalidInput", format, args...)
}

func malformedPolicy(message string) error {
	return newAPIError(http.StatusBadRequest, "MalformedPolicyDocument", "%s", message)
}

// The errors of AssumeRoleWithWebIdentity.
func invalidIdentityToken(format string, args ...any) error {
	return newAPIError(http.StatusBadRequest, "InvalidIdentityToken", format, args...)
}

// notAuthorized is said of a role that does not exist, too, so that nobody learns
// which do.
func notAuthorized() error {
	return newAPIError(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

// internalError is what becomes of an error that is not the caller's. What went
// wrong is for the log.
func internalError() *apiError {
	return newAPIError(http.StatusInternalServerError, "InternalFailure",
		"The request processing has failed because of an unknown error, exception or failure.")
}

// kind is whose fault it is, in AWS's words.
func (f *apiError) kind() string {
	if f.status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}

// stripControlChars keeps what foreign bytes may bring out of a message: XML has no place
// for control characters.
func stripControlChars(s string) string { return strings.Join(strings.Fields(s), " ") }
