// Package trustpolicy parses, evaluates and creates trust policies of IAM roles. It
// decides, as AWS does, whether a role can be assumed with a web identity token, and
// explains why not. It creates the policy that allows only the given ServiceAccounts. It
// never calls AWS.
//
// The rules are those of the IAM User Guide
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/). Comments cite its pages by name,
// some of them by a short name:
//   - grammar: reference_policies_grammar
//   - operators: reference_policies_elements_condition_operators
//   - set operators: reference_policies_condition-single-vs-multi-valued-context-keys
//   - variables: reference_policies_variables
//   - principal: reference_policies_elements_principal
package trustpolicy

// Action is the action of STS that exchanges a token for credentials.
const Action = "sts:AssumeRoleWithWebIdentity"

// The versions of the policy language. A policy without a version has the older one,
// which has no variables (reference_policies_elements_version).
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// The effects of a statement.
const (
	effectAllow = "Allow"
	effectDeny  = "Deny"
)

// The kinds of principals. CanonicalUser occurs only in bucket policies of S3.
const (
	federated        = "Federated"
	principalAWS     = "AWS"
	principalService = "Service"
)

// Document is a trust policy, created by Parse or New. The zero value has no statement
// and allows nothing.
type Document struct {
	version, id string
	statements  []statement
}

type statement struct {
	sid, effect string
	// everyone reports whether Principal is "*".
	everyone   bool
	principals []principal
	// actions are the values of Action, or of NotAction if not is true.
	actions    []string
	not        bool
	conditions []condition
}

// principal is one entry of the map of Principal.
type principal struct {
	kind   string
	values []string
}

// condition is one key under one operator.
type condition struct {
	operator operator
	key      string
	values   []string
}
