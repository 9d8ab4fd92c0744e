package webhook

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Why a request gets no answer. These are the reasons of outcome "error".
const (
	ClientCertificateMissing inject.Reason = "client_certificate_missing"
	ClientCertificateRefused inject.Reason = "client_certificate_refused"
	Overloaded               inject.Reason = "overloaded"
	UnsupportedMediaType     inject.Reason = "unsupported_media_type"
	BodyTooLarge             inject.Reason = "body_too_large"
	BodyTooSlow              inject.Reason = "body_too_slow"
	BadRequest               inject.Reason = "bad_request"
	IdentityUnknown          inject.Reason = "identity_unknown"
	RoleNotPermitted         inject.Reason = "role_not_permitted"
	InternalError            inject.Reason = "internal_error"
	Panic                    inject.Reason = "panic"
)

// Error is a failure that knows its HTTP status and its reason.
type Error struct {
	Status int
	Reason inject.Reason
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func badRequest(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Reason: BadRequest, Err: fmt.Errorf(format, args...)}
}

// asError finds the *Error in err, or makes an internal one of it.
func asError(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	return &Error{Status: http.StatusInternalServerError, Reason: InternalError, Err: err}
}
