package trustpolicy

import (
	"fmt"
	"strings"
)

// principalHint says why the principals of a statement may not be the provider.
func (s statement) principalHint(r Request) string {
	other := ""
	for _, p := range s.principals {
		for _, value := range p.values {
			if p.kind != federated {
				if other == "" {
					other = kindHint(p.kind, value, r.Provider)
				}
				continue
			}
			if hint := providerHint(value, r.Provider); hint != "" {
				return hint
			}
		}
	}
	return other
}

// kindHint says what a principal of another kind is for.
func kindHint(kind, value, provider string) string {
	if value == provider {
		return fmt.Sprintf("an OIDC provider is %s, not %s", federated, kind)
	}
	whom := "users and roles of AWS"
	if kind == principalService {
		whom = "services of AWS, such as EC2 instances or EKS Pod Identity"
	}
	return fmt.Sprintf("%s is for %s: tokens need {%q: %q}", kind, whom, federated, provider)
}

// providerHint compares two ARNs of OIDC providers.
func providerHint(written, provider string) string {
	issuer, wanted := IssuerOf(written), IssuerOf(provider)
	switch {
	case issuer == "" && scheme(written) == "":
		return "it is no ARN of an OIDC provider: did you mean " + provider + "?"
	case issuer == "":
		return "that is a URL, not an ARN: did you mean " + provider + "?"
	case issuer == wanted:
		return fmt.Sprintf("the provider is of another account or partition: did you mean %s?", provider)
	default:
		return issuerHint(issuer, wanted, provider)
	}
}

// issuerHint says how an issuer differs from the one wanted; meant is what should
// be written in place of what holds it.
func issuerHint(written, wanted, meant string) string {
	didYouMean := ": did you mean " + meant + "?"
	switch {
	case scheme(written) != "":
		return "the issuer is written without " + scheme(written) + didYouMean
	case strings.TrimRight(written, "/") != strings.TrimRight(wanted, "/"):
	case strings.HasSuffix(written, "/"):
		return "the issuer has no slash at its end" + didYouMean
	default:
		return "the issuer ends in a slash, which is part of its name" + didYouMean
	}
	switch {
	case strings.TrimSpace(written) == wanted:
		return "there is space around it" + didYouMean
	case strings.EqualFold(written, wanted):
		return "it differs in upper and lower case" + didYouMean
	default:
		return fmt.Sprintf("it is of another issuer, and the token is of %s%s", wanted, didYouMean)
	}
}

// scheme returns what a URL of the web begins with.
func scheme(s string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return scheme
		}
	}
	return ""
}

// actionHint says which action a token is exchanged by.
func (s statement) actionHint(action string) string {
	switch {
	case !strings.EqualFold(action, Action):
		return ""
	case s.not:
		return "NotAction leaves it out"
	default:
		return "a token is exchanged by " + Action
	}
}

// hint says why a condition may not hold.
func (c condition) hint(r Request, context contextKeys, unresolved string) string {
	if unresolved != "" {
		return "the request has no value for the variable ${" + unresolved + "}, which makes the statement void"
	}
	issuer, claim := cutKey(c.key)
	found := context.get(c.key)
	switch {
	case c.operator.base == opNull:
		if len(found) > 0 {
			return "Null of true wants the key not to be there"
		}
		return c.keyHint(issuer, claim, r)
	case len(found) == 0:
		return c.keyHint(issuer, claim, r)
	case c.operator.negated():
		return "the operator is negated: it rules these out"
	case c.operator.set == forAllValues && len(found) > 1:
		return "each of the values must be one of these"
	}
	for _, value := range c.values {
		if hint := c.valueHint(claim, value, found[0]); hint != "" {
			return hint
		}
	}
	return ""
}

// cutKey cuts the key of a claim into issuer and claim. An issuer on a laptop has
// a port, so it is the last colon that counts.
func cutKey(key string) (issuer, claim string) {
	if i := strings.LastIndex(key, ":"); i >= 0 {
		return key[:i], strings.ToLower(key[i+1:])
	}
	return "", strings.ToLower(key)
}

// keyHint says why a request may not have a key.
func (c condition) keyHint(issuer, claim string, r Request) string {
	wanted := IssuerOf(r.Provider)
	if wanted == "" || strings.EqualFold(issuer, "aws") || strings.EqualFold(issuer, "sts") {
		return ""
	}
	if strings.EqualFold(issuer, wanted) {
		return fmt.Sprintf("AWS makes condition keys of few claims: a ServiceAccount's token has %s:sub and %s:aud", wanted, wanted)
	}
	return "the key begins with the issuer: " + issuerHint(issuer, wanted, wanted+":"+claim)
}

// valueHint says how a value of the policy differs from what was found.
func (c condition) valueHint(claim, expected, found string) string {
	switch {
	case c.operator.base == opEquals && hasWildcard(expected) && newPattern(expected).matches(found):
		return fmt.Sprintf("%s takes * and ? for themselves: use %s", opEquals, opLike)
	case strings.TrimSpace(expected) == found:
		return "there is space around it"
	case strings.EqualFold(expected, found):
		return "it differs in upper and lower case: did you mean " + found + "?"
	case claim == "sub":
		return subjectHint(expected, found)
	case claim == "aud":
		return audienceHint(expected, found)
	default:
		return ""
	}
}
