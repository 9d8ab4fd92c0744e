package trustpolicy

import "fmt"

// MalformedError is the error of Parse. IAM rejects such a document with the error code
// MalformedPolicyDocument.
type MalformedError struct {
	// Message is IAM's message, as far as known. IAM does not document its messages;
	// these are from reports of users. If none is known, Message is the general
	// "Syntax errors in policy."
	Message string
	// Detail is the place of the error, Hint the probable fix. Both can be empty.
	Detail, Hint string
}

// Error returns the message, the detail and the hint.
func (e *MalformedError) Error() string {
	message := "malformed policy document: " + e.Message
	if e.Detail != "" {
		message += ": " + e.Detail
	}
	if e.Hint != "" {
		message += "; " + e.Hint
	}
	return message
}

// The messages of IAM.
const (
	msgInvalidJSON    = "This policy contains invalid Json"
	msgSyntax         = "Syntax errors in policy."
	msgVersion        = "The policy must contain a valid version string"
	msgNoStatement    = "Could not parse the policy: Statement is empty!"
	msgDuplicateSid   = "The Statement Ids in the policy are not unique"
	msgNoEffect       = "Missing required field Effect"
	msgNoPrincipal    = "Missing required field Principal"
	msgEmptyPrincipal = "Missing required field Principal cannot be empty!"
	msgAllowNot       = "Allow with NotPrincipal is not allowed."
	msgNotPrincipal   = "AssumeRole policy must not contain NotPrincipal field."
	msgNoAction       = "Missing required field Action"
	msgOnlySTS        = "AssumeRole policy may only specify STS AssumeRole actions."
	msgResource       = "Has prohibited field Resource"
	msgNotResource    = "AssumeRole policy must not contain resources."
	msgOneColon       = "Condition can contain only one colon."
	msgVendor         = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
)

func malformed(message, detail string, args ...any) *MalformedError {
	return &MalformedError{Message: message, Detail: fmt.Sprintf(detail, args...)}
}

func (e *MalformedError) withHint(hint string) *MalformedError {
	e.Hint = hint
	return e
}
