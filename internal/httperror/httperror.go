// Package httperror has an error that becomes an HTTP error response.
package httperror

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is the error of a request, with its HTTP status and a reason code for metrics
// and logs.
type Error struct {
	Status int
	// Reason is a constant in snake_case.
	Reason string
	Err    error
}

// New returns an Error with a formatted message, as fmt.Errorf.
func New(status int, reason, format string, args ...any) *Error {
	return &Error{Status: status, Reason: reason, Err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// From returns the Error that err wraps. If there is none, it returns an internal
// server error with the reason.
func From(err error, reason string) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	return &Error{Status: http.StatusInternalServerError, Reason: reason, Err: err}
}

// Write writes the error response.
func (e *Error) Write(w http.ResponseWriter) {
	if e.Status == http.StatusServiceUnavailable {
		// An API server then retries, until the timeout of the webhook.
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, "pod-identity-webhook: "+e.Error(), e.Status)
}
