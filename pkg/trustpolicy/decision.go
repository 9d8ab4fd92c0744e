package trustpolicy

import (
	"fmt"
	"strconv"
	"strings"
)

// Decision is the result of evaluating a trust policy for a request.
type Decision struct {
	Allowed bool
	// ExplicitDeny reports whether a statement denies the request. Such a statement
	// overrides every statement that allows it.
	ExplicitDeny bool
	Statements   []StatementDecision

	request Request
}

// StatementDecision is the result of comparing a request with a statement.
type StatementDecision struct {
	Sid string
	// Index is the index of the statement in the document, from 0.
	Index   int
	Effect  string
	Matches bool
	// Mismatches are the reasons why the statement does not match.
	Mismatches []Mismatch
}

// Mismatch is an element of a statement that a request does not match.
type Mismatch struct {
	// Element is Principal, Action, NotAction or Condition.
	Element string
	// Operator and Key are set only for a Condition.
	Operator, Key string
	// Expected are the values of the policy, Found those of the request. Found is
	// empty if the request does not have the key.
	Expected, Found []string
	// Hint is the probable mistake and its fix, or empty.
	Hint string
}

// Explain returns the reasons why the request is not allowed, one string each. It
// returns nil if the request is allowed.
func (d Decision) Explain() []string {
	if d.Allowed {
		return nil
	}
	var reasons []string
	allows := false
	for _, s := range d.Statements {
		switch {
		case s.Effect == effectDeny && s.Matches:
			reasons = append(reasons, s.name()+" denies the request, which overrides every Allow")
		case s.Effect == effectAllow && !s.Matches && !d.ExplicitDeny:
			for _, m := range s.Mismatches {
				reasons = append(reasons, s.name()+" does not allow the request: "+m.String())
			}
		}
		allows = allows || s.Effect == effectAllow
	}
	if !allows && !d.ExplicitDeny {
		reasons = append(reasons, "the policy has no Allow statement")
	}
	return reasons
}

// name returns the number of the statement, from 1, and its Sid.
func (s StatementDecision) name() string {
	if s.Sid != "" {
		return fmt.Sprintf("statement %d (%s)", s.Index+1, s.Sid)
	}
	return fmt.Sprintf("statement %d", s.Index+1)
}

// String returns a message with the element, both values and the hint.
func (m Mismatch) String() string {
	var message string
	switch {
	case m.Element != "Condition":
		message = fmt.Sprintf("%s is %s, but the request has %s", m.Element, quoted(m.Expected), quoted(m.Found))
	case len(m.Found) == 0:
		message = fmt.Sprintf("%s on %s requires %s, but the request has no such key", m.Operator, m.Key, quoted(m.Expected))
	case strings.Contains(m.Operator, "Not"):
		message = fmt.Sprintf("%s on %s requires a value other than %s, but the request has %s", m.Operator, m.Key, quoted(m.Expected), quoted(m.Found))
	default:
		message = fmt.Sprintf("%s on %s requires %s, but the request has %s", m.Operator, m.Key, quoted(m.Expected), quoted(m.Found))
	}
	if m.Hint != "" {
		message += "; " + m.Hint
	}
	return message
}

// maxValueLength and maxListLength keep a message readable on a terminal.
const (
	maxValueLength = 120
	maxListLength  = 4
)

// quote returns value in quotes, cut to maxValueLength bytes.
func quote(value string) string {
	if len(value) > maxValueLength {
		return strconv.Quote(strings.ToValidUTF8(value[:maxValueLength], "")) + "..."
	}
	return strconv.Quote(value)
}

// quoted returns at most maxListLength values in quotes, and the number of the others.
func quoted(values []string) string {
	parts := make([]string, 0, maxListLength+1)
	for i, value := range values {
		if i == maxListLength {
			parts = append(parts, fmt.Sprintf("%d more", len(values)-i))
			break
		}
		parts = append(parts, quote(value))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, " or ")
}
