package trustpolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Decision is the result of evaluating a trust policy for a request. If neither Allowed nor
// Unknown is true, the policy does not allow the request.
type Decision struct {
	Allowed bool
	// Unknown reports whether the decision depends on condition keys that only the real
	// call has.
	Unknown bool
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
	// Unknown are the condition keys that only the real call has. Without mismatches, they
	// decide whether the statement matches.
	Unknown []string
}

func (s StatementDecision) truth() truth {
	switch {
	case s.Matches:
		return yes
	case len(s.Mismatches) == 0:
		return unknown
	default:
		return no
	}
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

// Explain returns the reasons why the request is not allowed, or why that is unknown, one
// string each. It returns nil if the request is allowed.
func (d Decision) Explain() []string {
	if d.Allowed {
		return nil
	}
	var reasons []string
	allows := false
	for _, s := range d.Statements {
		switch {
		case d.Unknown && s.truth() == unknown:
			reasons = append(reasons, s.explainUnknown())
		case s.Effect == effectDeny && s.Matches:
			reasons = append(reasons, s.name()+" denies the request, which overrides every Allow")
		case s.Effect == effectAllow && !s.Matches && !d.ExplicitDeny && !d.Unknown:
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

// NeedsAllow reports whether no statement allows the request, whatever keys the real call
// has. Only then does one more Allow statement help, and not widen what another permits.
func (d Decision) NeedsAllow() bool {
	return !slices.ContainsFunc(d.Statements, func(s StatementDecision) bool { return s.Effect == effectAllow && s.truth() != no })
}

// UnknownKeys returns the condition keys on which an unknown decision depends, without
// duplicates. It returns nil for other decisions.
func (d Decision) UnknownKeys() []string {
	if !d.Unknown {
		return nil
	}
	var keys []string
	for _, s := range d.Statements {
		if s.truth() == unknown {
			keys = append(keys, s.Unknown...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// explainUnknown returns on which keys it depends whether the statement matches.
func (s StatementDecision) explainUnknown() string {
	verb := "allows"
	if s.Effect == effectDeny {
		verb = "denies"
	}
	keys := slices.Compact(slices.Sorted(slices.Values(s.Unknown)))
	return fmt.Sprintf("%s %s the request only if its conditions on %s are true; only the real call has a value", s.name(), verb, strings.Join(keys, ", "))
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
