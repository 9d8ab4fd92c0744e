package trustpolicy

import (
	"fmt"
	"strings"
)

// principalHint returns the probable reason why no principal is the provider, or "".
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

// kindHint returns a hint for a principal of another kind than Federated.
func kindHint(kind, value, provider string) string {
	if value == provider {
		return fmt.Sprintf("the OIDC provider must be under %s, not %s", federated, kind)
	}
	users := "AWS users and roles"
	if kind == principalService {
		users = "AWS services, such as EC2 instances or EKS Pod Identity"
	}
	return fmt.Sprintf("%s is for %s; tokens need {%q: %q}", kind, users, federated, provider)
}

// providerHint returns a hint how the provider in a policy differs from that of the
// request, or "" if the two are equal. Both are ARNs.
func providerHint(written, provider string) string {
	issuer, wanted := IssuerOf(written), IssuerOf(provider)
	switch {
	case issuer == "" && scheme(written) == "":
		return "the value is not the ARN of an OIDC provider; did you mean " + provider + "?"
	case issuer == "":
		return "the value is a URL, not an ARN; did you mean " + provider + "?"
	case issuer == wanted:
		return fmt.Sprintf("the provider is in another account or partition; did you mean %s?", provider)
	default:
		return issuerHint(issuer, wanted, provider)
	}
}

// issuerHint returns a hint how an issuer in a policy differs from the wanted one. meant
// is the correct value of the element that contains the issuer.
func issuerHint(written, wanted, meant string) string {
	didYouMean := "; did you mean " + meant + "?"
	switch {
	case scheme(written) != "":
		return "the issuer must not begin with " + scheme(written) + didYouMean
	case strings.TrimRight(written, "/") != strings.TrimRight(wanted, "/"):
	case strings.HasSuffix(written, "/"):
		return "the token's issuer does not end in a slash" + didYouMean
	default:
		return "the token's issuer ends in a slash, which is part of its name" + didYouMean
	}
	switch {
	case strings.TrimSpace(written) == wanted:
		return "the value has spaces around it" + didYouMean
	case strings.EqualFold(written, wanted):
		return "the value differs in upper and lower case" + didYouMean
	default:
		return fmt.Sprintf("the issuer differs from the token's issuer %s%s", wanted, didYouMean)
	}
}

// scheme returns the prefix https:// or http:// of s, or "".
func scheme(s string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return scheme
		}
	}
	return ""
}

// actionHint returns a hint for a statement that does not apply to Action.
func (s statement) actionHint(action string) string {
	switch {
	case !strings.EqualFold(action, Action):
		return ""
	case s.not:
		return "NotAction excludes this action"
	default:
		return "tokens are exchanged with " + Action
	}
}

// hint returns the probable reason why a condition is false, or "".
func (c condition) hint(r Request, context contextKeys, unresolved string) string {
	if unresolved != "" {
		return "the request has no value for the variable ${" + unresolved + "}, so the condition is false"
	}
	issuer, claim := cutKey(c.key)
	found := context.get(c.key)
	switch {
	case c.operator.base == opNull:
		if len(found) > 0 {
			return "Null with true requires that the key is absent"
		}
		return c.keyHint(issuer, claim, r)
	case len(found) == 0:
		return c.keyHint(issuer, claim, r)
	case c.operator.negated():
		return "the operator is negated, so it excludes these values"
	case c.operator.set == forAllValues && len(found) > 1:
		return "each value of the request must be one of these"
	}
	for _, value := range c.values {
		if hint := c.valueHint(claim, value, found[0]); hint != "" {
			return hint
		}
	}
	return ""
}

// cutKey splits the condition key of a claim into issuer and claim, at the last colon:
// the issuer of a local cluster has a port.
func cutKey(key string) (issuer, claim string) {
	if i := strings.LastIndex(key, ":"); i >= 0 {
		return key[:i], strings.ToLower(key[i+1:])
	}
	return "", strings.ToLower(key)
}

// keyHint returns the probable reason why the request does not have the key, or "".
func (c condition) keyHint(issuer, claim string, r Request) string {
	wanted := IssuerOf(r.Provider)
	if wanted == "" || strings.EqualFold(issuer, "aws") || strings.EqualFold(issuer, "sts") {
		return ""
	}
	if strings.EqualFold(issuer, wanted) {
		return fmt.Sprintf("AWS provides condition keys for few claims; a ServiceAccount's token has %s:sub and %s:aud", wanted, wanted)
	}
	return "the key must begin with the issuer; " + issuerHint(issuer, wanted, wanted+":"+claim)
}

// valueHint returns a hint how a value of the policy differs from the found one, or "".
func (c condition) valueHint(claim, expected, found string) string {
	switch {
	case c.operator.base == opEquals && hasWildcard(expected) && newPattern(expected).matches(found):
		return fmt.Sprintf("%s compares * and ? literally; use %s", opEquals, opLike)
	case strings.TrimSpace(expected) == found:
		return "the value has spaces around it"
	case strings.EqualFold(expected, found):
		return "the value differs in upper and lower case; did you mean " + found + "?"
	case claim == "sub":
		return subjectHint(expected, found)
	case claim == "aud":
		return audienceHint(expected, found)
	default:
		return ""
	}
}
