package trustpolicy

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// Request is a call of STS that the trust policy of a role decides on.
type Request struct {
	// Action is what is called: Action, of this package.
	Action string
	// Provider is the ARN of the OIDC provider that has vouched for the token.
	Provider string
	// Context are the values of the condition keys, whose case does not matter.
	Context map[string][]string
}

// ForToken returns the request that exchanging a token makes. The condition keys
// are those that AWS makes of a token's claims, and the session's name
// (reference_policies_iam-condition-keys, "Available keys for AWS OIDC federation"
// and "sts:RoleSessionName"). Keys of the call, such as aws:SourceIp, are the
// caller's to add.
func ForToken(providerARN string, claims token.Claims, sessionName string) Request {
	issuer := IssuerOf(providerARN)
	context := map[string][]string{}
	set := func(key string, values ...string) {
		// An empty value is none, but hides no other: a TokenRequest may ask for both.
		if some := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }); len(some) > 0 {
			context[key] = some
		}
	}
	set(issuer+":sub", claims.Subject)
	set(issuer+":aud", claims.Audience...)
	set("sts:RoleSessionName", sessionName)
	return Request{Action: Action, Provider: providerARN, Context: context}
}

// contextKeys are those of a request by their name in lower case.
type contextKeys map[string][]string

func newContextKeys(context map[string][]string) contextKeys {
	lower := make(contextKeys, len(context))
	for key, values := range context {
		lower[strings.ToLower(key)] = values
	}
	return lower
}

func (c contextKeys) get(key string) []string { return c[strings.ToLower(key)] }
