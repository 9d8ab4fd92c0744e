package trustpolicy

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// Request is a call of STS that the trust policy of a role allows or denies.
type Request struct {
	// Action is the action that is called, such as the constant Action.
	Action string
	// Provider is the ARN of the OIDC provider whose issuer signed the token.
	Provider string
	// Context has the values of the condition keys. Keys are case-insensitive.
	Context map[string][]string
}

// ForToken returns the request that exchanges a token. Its condition keys are those that
// AWS derives from the claims, and the name of the session. The caller adds keys of the
// call, such as aws:SourceIp. See reference_policies_iam-condition-keys, "Available keys
// for AWS OIDC federation" and "sts:RoleSessionName".
func ForToken(providerARN string, claims token.Claims, sessionName string) Request {
	issuer := IssuerOf(providerARN)
	context := map[string][]string{}
	set := func(key string, values ...string) {
		// An empty value counts as absent. It must not hide the others: a TokenRequest
		// can contain an empty audience and another one.
		if some := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }); len(some) > 0 {
			context[key] = some
		}
	}
	set(issuer+":sub", claims.Subject)
	set(issuer+":aud", claims.Audience...)
	set("sts:RoleSessionName", sessionName)
	return Request{Action: Action, Provider: providerARN, Context: context}
}

// contextKeys are the values of a request by the lower-case name of their key.
type contextKeys map[string][]string

func newContextKeys(context map[string][]string) contextKeys {
	lower := make(contextKeys, len(context))
	for key, values := range context {
		lower[strings.ToLower(key)] = values
	}
	return lower
}

func (c contextKeys) get(key string) []string { return c[strings.ToLower(key)] }
