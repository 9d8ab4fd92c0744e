package provision

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
)

// apiError is an error of AWS in AWS's words alone: the SDK puts the operation,
// the status and the request's id before them, which a person need not read.
type apiError struct{ api smithy.APIError }

func (e *apiError) Error() string { return e.api.ErrorCode() + ": " + e.api.ErrorMessage() }
func (e *apiError) Unwrap() error { return e.api }

// awsError makes an error of AWS short, and leaves any other alone.
func awsError(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return &apiError{api: api}
	}
	return err
}

// isNotFound says whether IAM has no such thing.
func isNotFound(err error) bool {
	_, missing := errors.AsType[*types.NoSuchEntityException](err)
	return missing
}

// IsDenied says whether it is the caller's rights that do not suffice. IAM's
// model has no type for that
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func IsDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "AccessDeniedException")
}
