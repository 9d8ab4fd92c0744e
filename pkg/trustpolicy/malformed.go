package trustpolicy

import "fmt"

// MalformedError says why IAM refuses a document as MalformedPolicyDocument.
type MalformedError struct {
	// Message is what IAM says, as far as that is known: its messages are not
	// documented, and these are from reports of its users. Where there is none,
	// it is the general "Syntax errors in policy."
	Message string
	// Detail says where, in our words; Hint what was probably meant. Both may be
	// empty.
	Detail, Hint string
}

// Error says all of it.
func (e *MalformedError) Error() string {
	said := "malformed policy document: " + e.Message
	if e.Detail != "" {
		said += ": " + e.Detail
	}
	if e.Hint != "" {
		said += ": " + e.Hint
	}
	return said
}

// What IAM says.
const (
	msgInvalidJSON     = "This policy contains invalid Json"
	msgSyntax          = "Syntax errors in policy."
	msgVersion         = "The policy must contain a valid version string"
	msgNoStatement     = "Could not parse the policy: Statement is empty!"
	msgDuplicateSid    = "The Statement Ids in the policy are not unique"
	msgNoEffect        = "Missing required field Effect"
	msgNoPrincipal     = "Missing required field Principal"
	saysEmptyPrincipal = "Missing required field Principal cannot be empty!"
	saysAllowNot       = "Allow with NotPrincipal is not allowed."
	saysNotPrincipal   = "AssumeRole policy must not contain NotPrincipal field."
	msgNoAction        = "Missing required field Action"
	saysOnlySTS        = "AssumeRole policy may only specify STS AssumeRole actions."
	msgResource        = "Has prohibited field Resource"
	saysNotResource    = "AssumeRole policy must not contain resources."
	saysOneColon       = "Condition can contain only one colon."
	saysVendor         = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
)

func malformed(message, detail string, args ...any) *MalformedError {
	return &MalformedError{Message: message, Detail: fmt.Sprintf(detail, args...)}
}

func (e *MalformedError) withHint(hint string) *MalformedError {
	e.Hint = hint
	return e
}
