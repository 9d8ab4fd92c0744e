package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// Warnings says what in a policy allows more than is probably meant, or nothing.
func (d Document) Warnings() []string {
	var warnings []string
	for i, s := range d.statements {
		name := StatementDecision{Sid: s.sid, Index: i}.name()
		for _, warning := range s.warnings() {
			warnings = append(warnings, name+" "+warning)
		}
		if !d.hasVariables() && s.mentionsVariables() {
			warnings = append(warnings, name+" has ${...}, which are only characters without Version "+version2012)
		}
	}
	if length := d.Length(); length > DefaultMaxLength {
		warnings = append(warnings, fmt.Sprintf("the policy has %d characters, and IAM takes %d: its quota \"Role trust policy length\" must be raised, which it can be up to %d",
			length, DefaultMaxLength, MaxLength))
	}
	return warnings
}

// warnings are those of a statement that allows tokens to be exchanged.
func (s statement) warnings() []string {
	if s.effect != effectAllow || !s.matchesAction(Action) {
		return nil
	}
	everyone := s.everyone
	var issuers []string
	for _, p := range s.principals {
		everyone = everyone || p.kind == principalAWS && slices.Contains(p.values, "*")
		for _, value := range p.values {
			if issuer := IssuerOf(value); p.kind == federated && issuer != "" {
				issuers = append(issuers, issuer)
			}
		}
	}
	if !everyone && len(issuers) == 0 {
		return nil
	}
	var warnings []string
	if everyone {
		warnings = append(warnings, "allows everyone whom the conditions do not keep out, from whatever provider")
	}
	for _, c := range s.conditions {
		warnings = append(warnings, c.warnings(issuers)...)
	}
	if !s.restrictsKey("sub") {
		warnings = append(warnings, "has no condition on sub that holds: each ServiceAccount of the cluster may assume the role")
	}
	if !s.restrictsKey("aud") {
		warnings = append(warnings, "has no condition on aud that holds: a token for any audience of the provider is taken")
	}
	return warnings
}

// restrictsKey says whether a condition demands one of some values of a claim: not if
// it holds without the claim, or if it only rules values out.
func (s statement) restrictsKey(claim string) bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		_, of := cutKey(c.key)
		return of == claim && !c.matchesWithout() && !c.operator.negated() && c.operator.base != opNull
	})
}

// matchesWithout says whether the condition is true of a request without its key.
func (c condition) matchesWithout() bool {
	return c.operator.base != opNull && c.operator.matches(nil, func(string) bool { return false })
}

func (c condition) warnings(issuers []string) []string {
	var warnings []string
	issuer, claim := cutKey(c.key)
	if c.operator.set == forAllValues {
		warnings = append(warnings, fmt.Sprintf("has %s on %s, which is true of a request without that key: use %s, or none for a key of one value",
			forAllValues, c.key, forAnyValue))
	}
	if c.operator.ifExists {
		warnings = append(warnings, fmt.Sprintf("has IfExists on %s, which is true of a request without that key", c.key))
	}
	for _, value := range c.values {
		if c.operator.base == opEquals && hasWildcard(value) && !strings.Contains(value, "${") {
			warnings = append(warnings, fmt.Sprintf("has %s in %s, which takes * and ? for themselves: use %s", quote(value), opEquals, opLike))
		}
		if claim == "sub" && c.operator.base == opLike {
			warnings = append(warnings, isBroad(value)...)
		}
		if claim == "aud" && c.operator.base == opLike && hasWildcard(value) && strings.Trim(value, "*") == "" {
			warnings = append(warnings, fmt.Sprintf("has %s on aud: a token for any audience of the provider is taken", quote(value)))
		}
	}
	isClaim := claim == "sub" || claim == "aud"
	if isClaim && len(issuers) > 0 && !slices.ContainsFunc(issuers, func(of string) bool { return strings.EqualFold(of, issuer) }) {
		warnings = append(warnings, fmt.Sprintf("has the key %s, but its provider is of %s: one of the two is not as it was meant", c.key, issuers[0]))
	}
	return warnings
}

// isBroad warns of a subject that is of ServiceAccounts of more than one namespace,
// since whoever may create a namespace, or a ServiceAccount in one of them, may
// then have the role.
func isBroad(subject string) []string {
	namespace, name, ok := cutSubject(subject)
	switch {
	case !ok && hasWildcard(subject):
		return []string{fmt.Sprintf("has %s on sub, which can be of more than one namespace", quote(subject))}
	case !ok || !hasWildcard(namespace):
		return nil
	case strings.Trim(namespace, "*") == "" && strings.Trim(name, "*") == "":
		return []string{fmt.Sprintf("has %s on sub: each ServiceAccount of the cluster may assume the role", quote(subject))}
	default:
		return []string{fmt.Sprintf("has %s on sub: whoever can make a namespace of such a name may assume the role", quote(subject))}
	}
}

// mentionsVariables says whether a value has what newer policies take for a variable.
func (s statement) mentionsVariables() bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		return slices.ContainsFunc(c.values, func(value string) bool { return strings.Contains(value, "${") })
	})
}
