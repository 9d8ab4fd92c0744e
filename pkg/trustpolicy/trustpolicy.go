// Package trustpolicy owns the trust policy of an IAM role: it reads one, decides
// as AWS does whether a role may be assumed with a web identity, says why not,
// and writes the least policy for ServiceAccounts. It is pure: it never calls AWS.
//
// The rules are those of the IAM User Guide
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/), whose pages are cited by
// their name where a rule is applied: "grammar" is reference_policies_grammar,
// "operators" reference_policies_elements_condition_operators, "set operators"
// reference_policies_condition-single-vs-multi-valued-context-keys, "variables"
// reference_policies_variables, "principal" reference_policies_elements_principal.
package trustpolicy

// Action is the action of STS that a token is exchanged by.
const Action = "sts:AssumeRoleWithWebIdentity"

// The versions of the policy language. A policy without one is of the older,
// which knows no variables (reference_policies_elements_version).
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// The effects of a statement.
const (
	effectAllow = "Allow"
	effectDeny  = "Deny"
)

// The kinds of principals. CanonicalUser is of S3's bucket policies alone.
const (
	federated        = "Federated"
	principalAWS     = "AWS"
	principalService = "Service"
)

// Document is a trust policy. It comes from Parse or New; the zero value has no
// statement, and so allows nothing.
type Document struct {
	version, id string
	statements  []statement
}

type statement struct {
	sid, effect string
	// everyone is a Principal that is "*" itself.
	everyone   bool
	principals []principal
	// actions are those of Action, or of NotAction if not is true.
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
