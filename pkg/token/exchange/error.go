package exchange

import (
	"errors"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Reason is why there are no credentials: the code of STS's error, as its API
// reference has it for AssumeRoleWithWebIdentity, or one of the last two.
type Reason string

// Why there are no credentials.
const (
	InvalidIdentityToken    Reason = "InvalidIdentityToken"
	ExpiredToken            Reason = "ExpiredTokenException"
	AccessDenied            Reason = "AccessDenied"
	IDPCommunicationError   Reason = "IDPCommunicationError"
	IDPRejectedClaim        Reason = "IDPRejectedClaim"
	RegionDisabled          Reason = "RegionDisabledException"
	PackedPolicyTooLarge    Reason = "PackedPolicyTooLarge"
	MalformedPolicyDocument Reason = "MalformedPolicyDocument"
	// Other is another answer of STS.
	Other Reason = "Other"
	// Unreachable says that STS did not answer.
	Unreachable Reason = "Unreachable"
)

// advice says what to do about each reason.
var advice = map[Reason]string{
	InvalidIdentityToken:    "compare the token's issuer and audience with the OIDC provider in IAM, and see that the issuer's keys are published",
	ExpiredToken:            "use a token that is still valid; the clock of the machine that signs may be behind",
	AccessDenied:            "see that the role exists, and that its trust policy allows this provider, subject and audience",
	IDPCommunicationError:   "see that the issuer's discovery document and keys can be read from the internet, then try again",
	IDPRejectedClaim:        "see that the token is not void, and that the issuer's documents are those of its keys",
	RegionDisabled:          "activate STS in this region in the account, or use another region",
	PackedPolicyTooLarge:    "make the session policies or tags smaller",
	MalformedPolicyDocument: "mend the session policy",
	Other:                   "see STS's API reference for this code",
	Unreachable:             "see that the endpoint of STS can be reached from here, and is the right one",
}

// Error is why there are no credentials.
type Error struct {
	Reason Reason
	// Code is what STS called it; empty if it did not answer.
	Code, Message, RequestID string
	// Status is that of the HTTP response; 0 without one.
	Status int
	Err    error
}

func (e *Error) Error() string {
	if e.Reason == Unreachable {
		return fmt.Sprintf("exchange the token: STS does not answer: %v; %s", e.Err, advice[e.Reason])
	}
	return fmt.Sprintf("exchange the token: STS refuses (%s, request %s): %s; %s", e.Code, e.RequestID, e.Message, advice[e.Reason])
}

func (e *Error) Unwrap() error { return e.Err }

// Advice says what to do about it.
func (e *Error) Advice() string { return advice[e.Reason] }

func newError(err error) *Error {
	refusal := &Error{Reason: Unreachable, Err: err}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		refusal.Status, refusal.RequestID = response.HTTPStatusCode(), response.ServiceRequestID()
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if refusal.Status >= http.StatusBadRequest {
			refusal.Reason, refusal.Message = Other, http.StatusText(refusal.Status)
		}
		return refusal
	}
	refusal.Code, refusal.Message = answer.ErrorCode(), answer.ErrorMessage()
	refusal.Reason = Reason(refusal.Code)
	if _, known := advice[refusal.Reason]; !known || refusal.Reason == Unreachable {
		refusal.Reason = Other
	}
	return refusal
}
