package exchange

import (
	"errors"
	"fmt"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Reason is why there are no credentials: the code of STS's error, as its API
// reference has it for AssumeRoleWithWebIdentity, or one of the last two.
type Reason string

// Why there are no credentials. All but AccessDenied, which is common to AWS's APIs,
// are those of the package types of the SDK.
const (
	InvalidIdentityToken    Reason = "InvalidIdentityToken"
	ExpiredToken            Reason = "ExpiredTokenException"
	AccessDenied            Reason = "AccessDenied"
	IDPCommunicationError   Reason = "IDPCommunicationError"
	IDPRejectedClaim        Reason = "IDPRejectedClaim"
	RegionDisabled          Reason = "RegionDisabledException"
	PackedPolicyTooLarge    Reason = "PackedPolicyTooLarge"
	MalformedPolicyDocument Reason = "MalformedPolicyDocument"
	// Other is another answer, of STS or of something else.
	Other Reason = "Other"
	// Unreachable says that nothing answered.
	Unreachable Reason = "Unreachable"
)

// reasons finds the reason of a code. MinIO has codes of its own for some
// (cmd/sts-errors.go there).
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

// hints says what to do about each reason.
var hints = map[Reason]string{
	InvalidIdentityToken:    "compare the token's issuer and audience with the OIDC provider in IAM, and see that the issuer's keys are published",
	ExpiredToken:            "use a token that is still valid; the clock of the machine that signs may be behind",
	AccessDenied:            "see that the role exists, and that its trust policy allows this provider, subject and audience",
	IDPCommunicationError:   "see that the issuer's discovery document and keys can be read from the internet, then try again",
	IDPRejectedClaim:        "see that the token is not void, and that the issuer's documents are those of its keys",
	RegionDisabled:          "activate STS in this region in the account, or use another region",
	PackedPolicyTooLarge:    "make the session policies or tags smaller",
	MalformedPolicyDocument: "mend the session policy",
	Other:                   "see STS's API reference for this code, and that the endpoint is STS's",
	Unreachable:             "see that the endpoint of STS can be reached from here, and is the right one",
}

// Error is why there are no credentials.
type Error struct {
	Reason Reason
	// Code is what STS called it; empty if it did not answer, or not as STS does.
	Code, Message, RequestID string
	// Status is that of the HTTP response; 0 without one.
	Status int
	Err    error
}

func (e *Error) Error() string {
	if e.Reason == Unreachable {
		return fmt.Sprintf("exchange the token: STS does not answer: %v; %s", e.Err, e.Hint())
	}
	return fmt.Sprintf("exchange the token: STS refuses%s: %s; %s", e.details(), e.Message, e.Hint())
}

// details are what of an answer helps to find it again.
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

// Hint says what to do about it.
func (e *Error) Hint() string { return hints[e.Reason] }

// convertError says what an error of the SDK means. It is the SDK's error that it wraps,
// unless that has the token, since whatever answers may have quoted it.
func convertError(err error, token string) *Error {
	refusal := &Error{Reason: Unreachable, Err: err}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok && response.Response != nil {
		refusal.Status, refusal.RequestID = response.HTTPStatusCode(), response.ServiceRequestID()
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		refusal.Reason, refusal.Code, refusal.Message = Other, answer.ErrorCode(), answer.ErrorMessage()
		if reason, known := reasons[refusal.Code]; known {
			refusal.Reason = reason
		}
	} else if refusal.Status != 0 {
		refusal.Reason, refusal.Message = Other, "the answer is not one of STS's"
	}
	return refusal.redact(token)
}

// redact takes out what must not be told.
func (e *Error) redact(secret string) *Error {
	if secret == "" || !strings.Contains(e.Err.Error(), secret) {
		return e
	}
	redact := strings.NewReplacer(secret, "(the token)").Replace
	e.Code, e.Message, e.RequestID = redact(e.Code), redact(e.Message), redact(e.RequestID)
	e.Err = errors.New(redact(e.Err.Error()))
	return e
}
