package trustpolicy

import (
	"slices"
	"strings"
)

// Evaluate decides whether the policy allows a request: at least one statement allows it
// and none denies it (reference_policies_evaluation-logic). The decision is unknown if it
// depends on condition keys that only the real call has.
func (d Document) Evaluate(r Request) Decision {
	decision := Decision{request: r}
	context := newContextKeys(r)
	matches := map[string]truth{effectAllow: no, effectDeny: no}
	for i, s := range d.statements {
		decided := s.decide(r, context, d.hasVariables())
		decided.Index = i
		decision.Statements = append(decision.Statements, decided)
		matches[s.effect] = max(matches[s.effect], decided.truth())
	}
	allow, deny := matches[effectAllow], matches[effectDeny]
	decision.ExplicitDeny = deny == yes
	decision.Allowed = allow == yes && deny == no
	decision.Unknown = !decision.Allowed && !decision.ExplicitDeny && allow != no
	return decision
}

// truth is the value of a condition, in increasing order.
type truth int

const (
	no truth = iota
	unknown
	yes
)

func truthOf(holds bool) truth {
	if holds {
		return yes
	}
	return no
}

// hasVariables reports whether ${...} is a variable. The older version, which is the
// default, has no variables (variables, "Introduction").
func (d Document) hasVariables() bool { return d.version == version2012 }

// decide compares each element with the request and returns all mismatches.
func (s statement) decide(r Request, context contextKeys, variables bool) StatementDecision {
	decided := StatementDecision{Sid: s.sid, Effect: s.effect}
	if !s.matchesPrincipal(r.Provider) {
		decided.Mismatches = append(decided.Mismatches, Mismatch{
			Element: "Principal", Expected: s.principalValues(), Found: []string{r.Provider}, Hint: s.principalHint(r),
		})
	}
	if !s.matchesAction(r.Action) {
		element := "Action"
		if s.not {
			element = "NotAction"
		}
		decided.Mismatches = append(decided.Mismatches, Mismatch{
			Element: element, Expected: slices.Clone(s.actions), Found: []string{r.Action}, Hint: s.actionHint(r.Action),
		})
	}
	for _, c := range s.conditions {
		holds, undecided := c.matches(context, variables)
		switch holds {
		case unknown:
			decided.Unknown = append(decided.Unknown, undecided)
		case no:
			decided.Mismatches = append(decided.Mismatches, Mismatch{
				Element: "Condition", Operator: c.operator.String(), Key: c.key,
				Expected: slices.Clone(c.values), Found: slices.Clone(context.get(c.key)), Hint: c.hint(r, context, undecided),
			})
		case yes:
		}
	}
	decided.Matches = len(decided.Mismatches) == 0 && len(decided.Unknown) == 0
	return decided
}

// matchesPrincipal reports whether a principal of the statement is the provider. A
// wildcard cannot match part of an ARN. "*" and {"AWS": "*"} match everyone (principal,
// "All principals").
func (s statement) matchesPrincipal(provider string) bool {
	if s.everyone {
		return true
	}
	for _, p := range s.principals {
		switch p.kind {
		case federated:
			if slices.Contains(p.values, provider) {
				return true
			}
		case principalAWS:
			if slices.Contains(p.values, "*") {
				return true
			}
		}
	}
	return false
}

// principalValues returns the principals in the form "Federated arn:...".
func (s statement) principalValues() []string {
	var values []string
	for _, p := range s.principals {
		for _, value := range p.values {
			values = append(values, p.kind+" "+value)
		}
	}
	return values
}

// matchesAction reports whether the statement applies to an action. Actions are
// case-insensitive and can have wildcards (reference_policies_elements_action).
func (s statement) matchesAction(action string) bool {
	listed := slices.ContainsFunc(s.actions, func(a string) bool {
		return newPattern(strings.ToLower(a)).matches(strings.ToLower(action))
	})
	return listed != s.not
}

// matches returns whether a condition is true of a request. If that is unknown, key is the
// key that only the real call has. If it is false because a variable could not be
// resolved, key is that variable.
//
// A value with such a variable never equals or matches anything (variables, "Policy
// variables with no value"). So the condition is false, but a negated operator can still
// be true. IfExists is true without the key even then (variables, the note at the start).
func (c condition) matches(context contextKeys, variables bool) (holds truth, key string) {
	if context.unknown(c.key) {
		return unknown, c.key
	}
	found := context.get(c.key)
	if c.operator.base == opNull {
		return truthOf(c.matchesNull(found)), ""
	}
	comparison := comparisons[c.operator.base]
	expected := make([]pattern, 0, len(c.values))
	for _, value := range c.values {
		if !variables || !comparison.variables {
			expected = append(expected, newPattern(value))
			continue
		}
		expanded, missing := expand(value, context)
		name, _, _ := strings.Cut(missing, ",")
		switch {
		case missing == "":
			expected = append(expected, expanded)
		case context.unknown(name):
			return unknown, name
		case !c.operator.negated() && (!c.operator.ifExists || len(found) > 0):
			return no, missing
		}
	}
	return truthOf(c.operator.matches(found, func(value string) bool {
		return slices.ContainsFunc(expected, func(p pattern) bool { return comparison.compare(value, p) })
	})), ""
}

// matchesNull reports whether one of the values is "true" and the key is absent, or
// "false" and the key is present.
func (c condition) matchesNull(found []string) bool {
	return slices.ContainsFunc(c.values, func(value string) bool {
		return strings.EqualFold(value, "true") && len(found) == 0 || strings.EqualFold(value, "false") && len(found) > 0
	})
}

// matches reports whether the operator is true of the values of a key. listed reports
// whether a value is one of the policy's.
//
// If the policy has several values, one match is enough. If the operator is negated,
// none may match (reference_policies_condition-logic-multiple-context-keys-or-values).
// AWS does not document an operator without a set on a key with several values. Here
// one matching value is enough.
func (o operator) matches(found []string, listed func(string) bool) bool {
	if len(found) == 0 && o.ifExists {
		return true
	}
	holds := func(value string) bool { return listed(value) != o.negated() }
	switch o.set {
	case forAllValues:
		// ForAllValues is true of an empty set and of an empty value (set operators).
		return !slices.ContainsFunc(found, func(value string) bool { return value != "" && !holds(value) })
	case forAnyValue:
		return slices.ContainsFunc(found, holds)
	default:
		return slices.ContainsFunc(found, listed) != o.negated()
	}
}
