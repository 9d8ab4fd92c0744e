package provision

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
)

// apiError is an error of AWS with only its code and message. The SDK adds the operation,
// the status and the request ID, which a user does not need.
type apiError struct{ api smithy.APIError }

func (e *apiError) Error() string { return e.api.ErrorCode() + ": " + e.api.ErrorMessage() }
func (e *apiError) Unwrap() error { return e.api }

// awsError shortens an error of AWS to its code and message. It returns any other error
// unchanged.
func awsError(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return &apiError{api: api}
	}
	return err
}

// isNotFound reports whether the error is that an object does not exist in IAM.
func isNotFound(err error) bool {
	_, missing := errors.AsType[*types.NoSuchEntityException](err)
	return missing
}

// IsDenied reports whether AWS denied a call because the caller lacks a permission. IAM's
// model has no error type for this
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func IsDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "AccessDeniedException")
}
