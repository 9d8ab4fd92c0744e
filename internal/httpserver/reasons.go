package httpserver

// Reasons of an httperror.Error, for metrics and logs.
const (
	ClientCertificateMissing = "client_certificate_missing"
	ClientCertificateRefused = "client_certificate_refused"
	Overloaded               = "overloaded"
	BodyTooLarge             = "body_too_large"
	BodyTooSlow              = "body_too_slow"
	BodyNotRead              = "bad_request"
	Panic                    = "panic"
)
