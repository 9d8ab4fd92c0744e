package trustpolicy

import (
	"slices"
	"strings"
)

// Evaluate decides on a request: it is allowed if a statement allows it and none
// denies it (reference_policies_evaluation-logic).
func (d Document) Evaluate(r Request) Decision {
	decision := Decision{request: r}
	context := newContextKeys(r.Context)
	for i, s := range d.statements {
		decided := s.decide(r, context, d.hasVariables())
		decided.Index = i
		decision.Statements = append(decision.Statements, decided)
		if decided.Matches {
			decision.Allowed = decision.Allowed || s.effect == effectAllow
			decision.ExplicitDeny = decision.ExplicitDeny || s.effect == effectDeny
		}
	}
	decision.Allowed = decision.Allowed && !decision.ExplicitDeny
	return decision
}

// hasVariables says whether ${...} is more than characters: the older version,
// which is the default, has no variables (variables, "Introduction").
func (d Document) hasVariables() bool { return d.version == version2012 }

// decide compares each element, and so finds all that does not match.
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
		if holds, unresolved := c.matches(context, variables); !holds {
			decided.Mismatches = append(decided.Mismatches, Mismatch{
				Element: "Condition", Operator: c.operator.String(), Key: c.key,
				Expected: slices.Clone(c.values), Found: slices.Clone(context.get(c.key)), Hint: c.hint(r, context, unresolved),
			})
		}
	}
	decided.Matches = len(decided.Mismatches) == 0
	return decided
}

// matchesPrincipal says whether the statement's principal is the provider. No wildcard can
// stand for a part of an ARN; "*", and AWS of "*", are everyone (principal, "All
// principals").
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

// principalValues returns the principals as "Federated arn:...".
func (s statement) principalValues() []string {
	var values []string
	for _, p := range s.principals {
		for _, value := range p.values {
			values = append(values, p.kind+" "+value)
		}
	}
	return values
}

// matchesAction says whether the statement is about an action. Their case does not
// matter, and wildcards may stand in them (reference_policies_elements_action).
func (s statement) matchesAction(action string) bool {
	listed := slices.ContainsFunc(s.actions, func(a string) bool {
		return newPattern(strings.ToLower(a)).matches(strings.ToLower(action))
	})
	return listed != s.not
}

// matches says whether a condition is true of a request. It returns the variable
// that could not be resolved, if that is why it is not.
//
// Nothing is equal to, or like, a value with such a variable: so it makes a
// statement void, but is no obstacle to an operator that is negated, by which a
// statement may deny (variables, "Policy variables with no value"). IfExists is to
// spare a key that is not there the first (variables, the note at its beginning).
func (c condition) matches(context contextKeys, variables bool) (holds bool, unresolved string) {
	found := context.get(c.key)
	if c.operator.base == opNull {
		return c.matchesNull(found), ""
	}
	comparison := comparisons[c.operator.base]
	expected := make([]pattern, 0, len(c.values))
	for _, value := range c.values {
		if !variables || !comparison.variables {
			expected = append(expected, newPattern(value))
			continue
		}
		expanded, missing := expand(value, context)
		switch {
		case missing == "":
			expected = append(expected, expanded)
		case !c.operator.negated() && (!c.operator.ifExists || len(found) > 0):
			return false, missing
		}
	}
	return c.operator.matches(found, func(value string) bool {
		return slices.ContainsFunc(expected, func(p pattern) bool { return comparison.compare(value, p) })
	}), ""
}

// matchesNull is true of "true" if the key is not there, and of "false" if it is.
func (c condition) matchesNull(found []string) bool {
	return slices.ContainsFunc(c.values, func(value string) bool {
		return strings.EqualFold(value, "true") && len(found) == 0 || strings.EqualFold(value, "false") && len(found) > 0
	})
}

// matches applies an operator to the values of a key. listed says whether a value
// is one of the policy's.
//
// Several values in the policy are one of which is enough, or none of which may
// match if the operator is negated (reference_policies_condition-logic-multiple-
// context-keys-or-values). What an operator without a set makes of a key with
// several values is not documented; we take one that matches to be enough.
func (o operator) matches(found []string, listed func(string) bool) bool {
	if len(found) == 0 && o.ifExists {
		return true
	}
	holds := func(value string) bool { return listed(value) != o.negated() }
	switch o.set {
	case forAllValues:
		// True of an empty set, and of a value that is empty (set operators).
		return !slices.ContainsFunc(found, func(value string) bool { return value != "" && !holds(value) })
	case forAnyValue:
		return slices.ContainsFunc(found, holds)
	default:
		return slices.ContainsFunc(found, listed) != o.negated()
	}
}
