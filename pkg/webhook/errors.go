package webhook

import (
	"net/http"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Reasons of requests with outcome "error", in addition to those of internal/httpserver.
const (
	UnsupportedMediaType inject.Reason = "unsupported_media_type"
	BodyTooLarge         inject.Reason = "body_too_large"
	BadRequest           inject.Reason = "bad_request"
	IdentityUnknown      inject.Reason = "identity_unknown"
	RoleNotPermitted     inject.Reason = "role_not_permitted"
	InternalError        inject.Reason = "internal_error"
	Panic                inject.Reason = "panic"
)

func badRequest(format string, args ...any) *httperror.Error {
	return httperror.New(http.StatusBadRequest, string(BadRequest), format, args...)
}

func tooLarge(format string, args ...any) *httperror.Error {
	return httperror.New(http.StatusRequestEntityTooLarge, string(BodyTooLarge), format, args...)
}
