package exchange

import (
	"errors"
	"fmt"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Reason is the reason why an exchange failed. Its value is the code of the error in the STS
// API reference (AssumeRoleWithWebIdentity), or Other or Unreachable.
type Reason string

// The reasons. The codes are those of the SDK's package types, except AccessDenied, which is
// common to all APIs of AWS.
const (
	InvalidIdentityToken    Reason = "InvalidIdentityToken"
	ExpiredToken            Reason = "ExpiredTokenException"
	AccessDenied            Reason = "AccessDenied"
	IDPCommunicationError   Reason = "IDPCommunicationError"
	IDPRejectedClaim        Reason = "IDPRejectedClaim"
	RegionDisabled          Reason = "RegionDisabledException"
	PackedPolicyTooLarge    Reason = "PackedPolicyTooLarge"
	MalformedPolicyDocument Reason = "MalformedPolicyDocument"
	// Other means any other response, of STS or of another server.
	Other Reason = "Other"
	// Unreachable means that there was no response.
	Unreachable Reason = "Unreachable"
)

// reasons maps error codes to reasons. MinIO uses different codes for some of them
// (cmd/sts-errors.go in its repository).
var reasons = map[string]Reason{
	"InvalidIdentityToken":     InvalidIdentityToken,
	"InvalidClientGrantsToken": InvalidIdentityToken, // MinIO
	"ExpiredTokenException":    ExpiredToken,
	"ExpiredToken":             ExpiredToken, // MinIO
	"AccessDenied":             AccessDenied,
	"IDPCommunicationError":    IDPCommunicationError,
	"IDPRejectedClaim":         IDPRejectedClaim,
	"RegionDisabledException":  RegionDisabled,
	"PackedPolicyTooLarge":     PackedPolicyTooLarge,
	"MalformedPolicyDocument":  MalformedPolicyDocument,
}

// hints contains a suggestion for each reason.
var hints = map[Reason]string{
	InvalidIdentityToken:    "compare the token's issuer and audience with the OIDC provider in IAM, and check that the issuer's keys are published",
	ExpiredToken:            "use a token that has not expired; if it is new, check the clock of the machine that signed it",
	AccessDenied:            "check that the role exists and that its trust policy allows this provider, subject and audience",
	IDPCommunicationError:   "check that the issuer's discovery document and keys can be read from the internet, then try again",
	IDPRejectedClaim:        "check that the token is not revoked and that the issuer's documents contain its current keys",
	RegionDisabled:          "activate STS in this region in the account, or use another region",
	PackedPolicyTooLarge:    "reduce the size of the session policies or tags",
	MalformedPolicyDocument: "fix the session policy",
	Other:                   "look up this code in the STS API reference, and check that the endpoint is an STS",
	Unreachable:             "check that this machine can reach the STS endpoint and that the endpoint is correct",
}

// Error is the error of a failed exchange.
type Error struct {
	Reason Reason
	// Code is the error code in the response. It is empty if there was no response, or if
	// the response is not in the format of STS.
	Code, Message, RequestID string
	// Status is the status of the HTTP response, or 0 if there was none.
	Status int
	Err    error
}

func (e *Error) Error() string {
	if e.Reason == Unreachable {
		return fmt.Sprintf("exchange token: no response from STS: %v; %s", e.Err, e.Hint())
	}
	return fmt.Sprintf("exchange token: error from STS%s: %s; %s", e.details(), e.Message, e.Hint())
}

// details returns the code or status and the request ID of the response, in parentheses.
func (e *Error) details() string {
	var details []string
	if e.Code != "" {
		details = append(details, e.Code)
	}
	if e.Code == "" && e.Status != 0 {
		details = append(details, fmt.Sprintf("status %d", e.Status))
	}
	if e.RequestID != "" {
		details = append(details, "request "+e.RequestID)
	}
	if len(details) == 0 {
		return ""
	}
	return " (" + strings.Join(details, ", ") + ")"
}

func (e *Error) Unwrap() error { return e.Err }

// Hint returns a suggestion for the reason.
func (e *Error) Hint() string { return hints[e.Reason] }

// convertError converts an error of the SDK to an *Error that wraps it. If the text of err
// contains the token, because a server quoted it, the *Error wraps a redacted copy instead.
func convertError(err error, token string) *Error {
	result := &Error{Reason: Unreachable, Err: err}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok && response.Response != nil {
		result.Status, result.RequestID = response.HTTPStatusCode(), response.ServiceRequestID()
	}
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		result.Reason, result.Code, result.Message = Other, apiErr.ErrorCode(), apiErr.ErrorMessage()
		if reason, known := reasons[result.Code]; known {
			result.Reason = reason
		}
	} else if result.Status != 0 {
		result.Reason, result.Message = Other, "not a response of STS"
	}
	return result.redact(token)
}

// redact replaces secret in all texts of the error.
func (e *Error) redact(secret string) *Error {
	if secret == "" || !strings.Contains(e.Err.Error(), secret) {
		return e
	}
	redact := strings.NewReplacer(secret, "(the token)").Replace
	e.Code, e.Message, e.RequestID = redact(e.Code), redact(e.Message), redact(e.RequestID)
	e.Err = errors.New(redact(e.Err.Error()))
	return e
}
