package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// Broad returns a message for each part of the policy that probably allows more than
// intended.
func (d Document) Broad() []string {
	var warnings []string
	for i, s := range d.statements {
		for _, warning := range s.broad() {
			warnings = append(warnings, StatementDecision{Sid: s.sid, Index: i}.name()+" "+warning)
		}
	}
	return warnings
}

// Warnings returns the messages of Broad, and one for each part that probably has a mistake.
// It also warns of a policy longer than DefaultMaxLength.
func (d Document) Warnings() []string {
	warnings := d.Broad()
	for i, s := range d.statements {
		name := StatementDecision{Sid: s.sid, Index: i}.name()
		for _, mistake := range s.mistakes() {
			warnings = append(warnings, name+" "+mistake)
		}
		if !d.hasVariables() && s.mentionsVariables() {
			warnings = append(warnings, name+" has ${...}, which is a variable only in Version "+version2012+"; set that version")
		}
	}
	if length := d.Length(); length > DefaultMaxLength {
		warnings = append(warnings, fmt.Sprintf("the policy has %d characters, and the default limit of IAM is %d; raise the quota \"Role trust policy length\", up to %d",
			length, DefaultMaxLength, MaxLength))
	}
	return warnings
}

// tokens reports whether the statement allows tokens to be exchanged. It returns the issuers
// of its providers, and whether it allows every principal.
func (s statement) tokens() (issuers []string, everyone, allows bool) {
	everyone = s.everyone
	for _, p := range s.principals {
		everyone = everyone || p.kind == principalAWS && slices.Contains(p.values, "*")
		for _, value := range p.values {
			if issuer := IssuerOf(value); p.kind == federated && issuer != "" {
				issuers = append(issuers, issuer)
			}
		}
	}
	return issuers, everyone, s.effect == effectAllow && s.matchesAction(Action) && (everyone || len(issuers) > 0)
}

// broad returns the parts of the statement that allow more than intended.
func (s statement) broad() []string {
	_, everyone, allows := s.tokens()
	if !allows {
		return nil
	}
	var warnings []string
	if everyone {
		warnings = append(warnings, "allows every principal that meets the conditions, from any provider; name the provider as Federated")
	}
	for _, c := range s.conditions {
		warnings = append(warnings, c.broad()...)
	}
	if !s.restrictsKey("sub") {
		warnings = append(warnings, "has no condition that requires a sub, so every ServiceAccount of the cluster can assume the role; add a condition on sub")
	}
	if !s.restrictsKey("aud") {
		warnings = append(warnings, "has no condition that requires an aud, so tokens with any audience of the provider are accepted; add a condition on aud")
	}
	return warnings
}

// mistakes returns the parts of the statement that probably do not have the intended effect.
func (s statement) mistakes() []string {
	issuers, _, allows := s.tokens()
	if !allows {
		return nil
	}
	var warnings []string
	for _, c := range s.conditions {
		warnings = append(warnings, c.mistakes(issuers)...)
	}
	return warnings
}

// restrictsKey reports whether a condition requires certain values of a claim. It does not
// if it is true without the claim, or if it only excludes values.
func (s statement) restrictsKey(claim string) bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		_, of := cutKey(c.key)
		return of == claim && !c.matchesWithout() && !c.operator.negated() && c.operator.base != opNull
	})
}

// matchesWithout reports whether the condition is true of a request without its key.
func (c condition) matchesWithout() bool {
	return c.operator.base != opNull && c.operator.matches(nil, func(string) bool { return false })
}

// broad returns warnings for a condition on the claims sub and aud. Conditions on other keys
// only restrict more.
func (c condition) broad() []string {
	_, claim := cutKey(c.key)
	if claim != "sub" && claim != "aud" {
		return nil
	}
	var warnings []string
	if c.operator.set == forAllValues {
		warnings = append(warnings, fmt.Sprintf("has %s on %s, which also allows requests without that key; use %s, or no prefix for a key with a single value",
			forAllValues, c.key, forAnyValue))
	}
	if c.operator.ifExists {
		warnings = append(warnings, fmt.Sprintf("has IfExists on %s, which also allows requests without that key; remove IfExists", c.key))
	}
	for _, value := range c.values {
		if claim == "sub" && c.operator.base == opLike {
			warnings = append(warnings, broadSubjectWarnings(value)...)
		}
		if claim == "aud" && c.operator.base == opLike && hasWildcard(value) && strings.Trim(value, "*") == "" {
			warnings = append(warnings, fmt.Sprintf("has %s on aud, so tokens with any audience of the provider are accepted; require one audience", quote(value)))
		}
	}
	return warnings
}

// mistakes returns warnings for a condition that is probably never true. issuers are those
// of the statement's providers.
func (c condition) mistakes(issuers []string) []string {
	var warnings []string
	for _, value := range c.values {
		if c.operator.base == opEquals && hasWildcard(value) && !strings.Contains(value, "${") {
			warnings = append(warnings, fmt.Sprintf("has %s in %s, which compares * and ? literally; use %s", quote(value), opEquals, opLike))
		}
	}
	issuer, claim := cutKey(c.key)
	if claim != "sub" && claim != "aud" || len(issuers) == 0 {
		return warnings
	}
	if !slices.ContainsFunc(issuers, func(of string) bool { return strings.EqualFold(of, issuer) }) {
		warnings = append(warnings, fmt.Sprintf("has the key %s, but the issuer of its provider is %s; correct the key or the provider", c.key, issuers[0]))
	}
	return warnings
}

// broadSubjectWarnings returns a warning for a subject that matches ServiceAccounts of more than one
// namespace. Anyone who can create such a namespace, or a ServiceAccount in one of them,
// can then assume the role.
func broadSubjectWarnings(subject string) []string {
	namespace, name, ok := cutSubject(subject)
	switch {
	case !ok && hasWildcard(subject):
		return []string{fmt.Sprintf("has %s on sub, which can match more than one namespace; write system:serviceaccount:NAMESPACE:NAME", quote(subject))}
	case !ok || !hasWildcard(namespace):
		return nil
	case strings.Trim(namespace, "*") == "" && strings.Trim(name, "*") == "":
		return []string{fmt.Sprintf("has %s on sub, so every ServiceAccount of the cluster can assume the role; name the namespace", quote(subject))}
	default:
		return []string{fmt.Sprintf("has %s on sub, so anyone who can create a namespace with such a name can assume the role; name the namespace", quote(subject))}
	}
}

// mentionsVariables reports whether a value has ${, which begins a variable in newer
// policies.
func (s statement) mentionsVariables() bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		return slices.ContainsFunc(c.values, func(value string) bool { return strings.Contains(value, "${") })
	})
}
