package trustpolicy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// sessionNameKey is the condition key of the session's name, in lower case.
const sessionNameKey = "sts:rolesessionname"

// Request is a call of STS that the trust policy of a role allows or denies.
type Request struct {
	// Action is the action that is called, such as the constant Action.
	Action string
	// Provider is the ARN of the OIDC provider whose issuer signed the token.
	Provider string
	// Context has the values of the condition keys. Keys are case-insensitive.
	Context map[string][]string
	// Partial reports whether the real call has condition keys that Context does not have,
	// such as aws:SourceIp and the name of the session. A condition on them is unknown.
	Partial bool
}

// At returns the request without the call that sends it, at a time. Context then has the
// clock, and Partial is true.
func (r Request) At(now time.Time) Request {
	r.Context = maps.Clone(r.Context)
	r.Context["aws:CurrentTime"] = []string{now.UTC().Format(time.RFC3339)}
	r.Context["aws:EpochTime"] = []string{strconv.FormatInt(now.Unix(), 10)}
	r.Partial = true
	return r
}

// ForToken returns the request that exchanges a token. Its condition keys are those that
// AWS derives from the claims, and the name of the session, if it is known. The caller adds
// keys of the call, such as aws:SourceIp, or calls At. See
// reference_policies_iam-condition-keys, "Available keys for AWS OIDC federation" and
// "sts:RoleSessionName".
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
	set(sessionNameKey, sessionName)
	return Request{Action: Action, Provider: providerARN, Context: context}
}

// contextKeys are the condition keys of a request.
type contextKeys struct {
	// values are by the lower-case name of their key.
	values  map[string][]string
	partial bool
}

func newContextKeys(r Request) contextKeys {
	lower := make(map[string][]string, len(r.Context))
	for key, values := range r.Context {
		lower[strings.ToLower(key)] = values
	}
	return contextKeys{lower, r.Partial}
}

func (c contextKeys) get(key string) []string { return c.values[strings.ToLower(key)] }

// unknown reports whether only the real call has the key: a global key, or the name of the
// session. A call with a token never has the other keys of STS.
func (c contextKeys) unknown(key string) bool {
	lower := strings.ToLower(key)
	_, known := c.values[lower]
	return c.partial && !known && (strings.HasPrefix(lower, "aws:") || lower == sessionNameKey)
}
