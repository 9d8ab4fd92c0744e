package trustpolicy

import (
	"fmt"
	"strconv"
	"strings"
)

// Decision is what a trust policy makes of a request, and why.
type Decision struct {
	Allowed bool
	// ExplicitDeny says that a statement denies the request, which no other can
	// make demo-up for.
	ExplicitDeny bool
	Statements   []StatementDecision

	request Request
}

// StatementDecision says whether a statement is about a request, and if not, why.
type StatementDecision struct {
	Sid string
	// Index is that in the document, from 0.
	Index      int
	Effect     string
	Matches    bool
	Mismatches []Mismatch
}

// Mismatch is an element of a statement that a request does not match.
type Mismatch struct {
	// Element is Principal, Action, NotAction or Condition.
	Element string
	// Operator and Key are of a Condition.
	Operator, Key string
	// Expected is what the policy has, Found what the request has, which is empty
	// for a key that is not there.
	Expected, Found []string
	// Hint says what was probably meant, or is empty.
	Hint string
}

// Explain says in sentences why a request is not allowed. It returns nil for one
// that is.
func (d Decision) Explain() []string {
	if d.Allowed {
		return nil
	}
	var sentences []string
	allows := false
	for _, s := range d.Statements {
		switch {
		case s.Effect == effectDeny && s.Matches:
			sentences = append(sentences, s.name()+" denies it explicitly, whatever the others allow")
		case s.Effect == effectAllow && !s.Matches && !d.ExplicitDeny:
			for _, m := range s.Mismatches {
				sentences = append(sentences, s.name()+" does not allow it: "+m.String())
			}
		}
		allows = allows || s.Effect == effectAllow
	}
	if !allows && !d.ExplicitDeny {
		sentences = append(sentences, "the policy has no statement that allows anything")
	}
	return sentences
}

func (s StatementDecision) name() string {
	if s.Sid != "" {
		return fmt.Sprintf("statement %d (%s)", s.Index+1, s.Sid)
	}
	return fmt.Sprintf("statement %d", s.Index+1)
}

// String says it in a sentence, with the hint.
func (m Mismatch) String() string {
	var said string
	switch {
	case m.Element != "Condition":
		said = fmt.Sprintf("%s is %s, not %s", m.Element, quoted(m.Expected), quoted(m.Found))
	case len(m.Found) == 0:
		said = fmt.Sprintf("%s of %s wants %s, and the request has no such key", m.Operator, m.Key, quoted(m.Expected))
	case strings.Contains(m.Operator, "Not"):
		said = fmt.Sprintf("%s of %s wants other than %s, and the request has %s", m.Operator, m.Key, quoted(m.Expected), quoted(m.Found))
	default:
		said = fmt.Sprintf("%s of %s wants %s, and the request has %s", m.Operator, m.Key, quoted(m.Expected), quoted(m.Found))
	}
	if m.Hint != "" {
		said += ": " + m.Hint
	}
	return said
}

// longest values and lists fit on a terminal.
const (
	longestValue = 120
	longestList  = 4
)

func quote(value string) string {
	if len(value) > longestValue {
		return strconv.Quote(strings.ToValidUTF8(value[:longestValue], "")) + "..."
	}
	return strconv.Quote(value)
}

func quoted(values []string) string {
	said := make([]string, 0, longestList+1)
	for i, value := range values {
		if i == longestList {
			said = append(said, fmt.Sprintf("%d more", len(values)-i))
			break
		}
		said = append(said, quote(value))
	}
	if len(said) == 0 {
		return "nothing"
	}
	return strings.Join(said, " or ")
}
