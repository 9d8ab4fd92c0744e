package localsts

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// The limits of AssumeRoleWithWebIdentity (STS API reference). Durations are in seconds.
const (
	minSessionDuration = 900
	maxSessionDuration = 43200
	defaultSession     = 3600
	maxPolicyARNs      = 10
)

var roleARNs = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/([!-~]+/)?[\w+=,.@-]{1,64}$`)

type assumeRoleResult struct {
	SubjectFromWebIdentityToken string
	Audience                    string
	AssumedRoleUser             assumedRoleUser
	Credentials                 credentials
	// Provider is the ARN of the provider. That is what STS returns; its API reference
	// describes the claim iss instead.
	Provider         string
	PackedPolicySize int `xml:",omitempty"`
	// SessionTokenSize is in bytes.
	SessionTokenSize int
}

type assumedRoleUser struct {
	Arn           string
	AssumedRoleID string `xml:"AssumedRoleId"`
}

type credentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

// webIdentity holds the parameters of AssumeRoleWithWebIdentity.
type webIdentity struct {
	roleARN, sessionName, token string
	duration                    int
	policy                      string
	policyARNs                  []string
}

// webIdentity reads the parameters of AssumeRoleWithWebIdentity. It returns an error if one
// is invalid.
func (c *call) webIdentity() (webIdentity, error) {
	p := &c.parameters
	params := webIdentity{
		roleARN:     p.text("RoleArn", arnRule()),
		sessionName: p.text("RoleSessionName", rule{required: true, min: 2, max: 64, pattern: sessionPattern, shown: `[\w+=,.@-]*`}),
		token:       p.text("WebIdentityToken", rule{required: true, min: 4, max: 20000, secret: true}),
		duration:    p.number("DurationSeconds", minSessionDuration, maxSessionDuration, defaultSession),
		policy:      p.text("Policy", rule{min: 1, max: plainSessionPolicies, pattern: policyPattern, shown: policyRule().shown}),
		policyARNs:  p.field("PolicyArns", "arn", maxPolicyARNs, arnRule()),
	}
	return params, p.err()
}

// assumeRoleWithWebIdentity exchanges a token for credentials. The STS API reference lists
// the errors, but not their order. Users report two facts: a missing provider is reported
// before a missing role, and a missing role is an AccessDenied. The rest of the order is a
// guess; see docs/local-sts.md.
func (s *Server) assumeRoleWithWebIdentity(c *call) (any, error) {
	params, err := c.webIdentity()
	if err != nil {
		return nil, err
	}
	account := s.store.view()
	accountOfRole := roleARNs.FindStringSubmatch(params.roleARN)
	if accountOfRole == nil {
		return nil, validationError("Request ARN is invalid")
	}
	claims, err := token.ParseUnverified(params.token)
	if err != nil {
		return nil, invalidIdentityToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	if missing := missingClaim(claims); missing != "" {
		return nil, invalidIdentityToken("Missing a required claim: %s", missing)
	}
	c.logger = c.logger.With("issuer", claims.Issuer, "subject", claims.Subject, "role", params.roleARN)
	providerARN, err := trustpolicy.ProviderARN(partition, account.ID, claims.Issuer)
	trusted := account.Providers[providerARN]
	if err != nil || trusted == nil || accountOfRole[1] != account.ID {
		return nil, invalidIdentityToken("No OpenIDConnect provider found in your account for %s", stripControlChars(claims.Issuer))
	}
	if err := s.verify(c, params.token, claims.KeyID, trusted); err != nil {
		return nil, err
	}
	role := account.roleByARN(params.roleARN)
	if role == nil {
		c.logger.WarnContext(c.ctx, "Role does not exist, returned AccessDenied as STS does")
		return nil, notAuthorized()
	}
	if err := s.evaluateTrustPolicy(c, role, providerARN, claims, params); err != nil {
		return nil, err
	}
	if params.duration > role.MaxSession {
		return nil, validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	packed, err := s.checkSessionPolicies(params.policy, params.policyARNs)
	if err != nil {
		return nil, err
	}
	created := newSession(role, params.sessionName, s.options.Now().Add(time.Duration(params.duration)*time.Second))
	created.Policy, created.PolicyARNs = params.policy, params.policyARNs
	sessionToken, err := created.token(account.SessionKey)
	if err != nil {
		return nil, err
	}
	return assumeRoleResult{
		SubjectFromWebIdentityToken: claims.Subject,
		Audience:                    sharedAudience(claims, trusted),
		AssumedRoleUser:             assumedRoleUser{account.assumedRoleARN(role.Name, params.sessionName), role.ID + ":" + params.sessionName},
		Credentials:                 credentials{created.AccessKeyID, created.Secret, sessionToken, timestamp(created.Expires)},
		Provider:                    providerARN,
		PackedPolicySize:            packed,
		SessionTokenSize:            len(sessionToken),
	}, nil
}

// missingClaim returns the name of the first required claim that is missing, or "". AWS
// requires iss, aud, exp, iat and sub (IAM User Guide, id_roles_providers_create_oidc,
// "Prerequisites"). That page also requires jti, which API servers add since 1.29, but
// there is no report that AWS checks it.
func missingClaim(claims token.Claims) string {
	for _, claim := range []struct {
		name string
		has  bool
	}{
		{"iss", claims.Issuer != ""},
		{"sub", claims.Subject != ""},
		{"aud", len(claims.Audience) > 0},
		{"exp", !claims.Expiry.IsZero()},
		{"iat", !claims.IssuedAt.IsZero()},
	} {
		if !claim.has {
			return claim.name
		}
	}
	return ""
}

// verify verifies a token with the keys that its issuer publishes and with the client IDs of
// the provider. It returns the error of STS for a token that is not valid.
func (s *Server) verify(c *call, raw, keyID string, trusted *provider) error {
	published, err := s.keyCache.get(c.ctx, trusted.URL, keyID)
	if err != nil {
		c.logger.WarnContext(c.ctx, "Could not read the keys of the issuer", "error", err)
		return noVerificationKey()
	}
	_, err = published.Verify(c.ctx, raw, issuer.Expected{Audiences: trusted.ClientIDs, Now: s.options.Now})
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*issuer.VerificationError](err)
	if !ok {
		return err
	}
	c.logger.WarnContext(c.ctx, "Token is not valid", "reason", invalid.Reason, "error", invalid)
	switch invalid.Reason {
	case issuer.UnknownKey:
		return noVerificationKey()
	case issuer.WrongAudience:
		return invalidIdentityToken("Incorrect token audience")
	case issuer.Expired:
		return s.expired(raw)
	case issuer.NotYetValid:
		// AWS's message for this case is not known.
		return invalidIdentityToken("Token is not yet valid")
	case issuer.BadSignature:
		// AWS's message for this case is not known either: no user reports a token that
		// names a published key and is not signed with it.
		return invalidIdentityToken("Token signature is invalid")
	default:
		return invalidIdentityToken("The web identity token that was passed could not be validated by AWS. Get a new identity token from the identity provider and then retry the request.")
	}
}

// noVerificationKey returns AWS's error for an issuer that does not respond (knowledge
// center, iam-sts-invalididentitytoken). It is also used for a key that the issuer does not
// publish. The two spaces after the comma are in AWS's message. The API reference also
// lists IDPCommunicationError, but no user reports when AWS returns it.
func noVerificationKey() error {
	return invalidIdentityToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
}

// expired returns AWS's error for a token that has expired.
func (s *Server) expired(raw string) error {
	claims, err := token.ParseUnverified(raw)
	if err != nil {
		return err
	}
	return newAPIError(http.StatusBadRequest, "ExpiredTokenException",
		"Token expired: current date/time %d must be before the expiration date/time %d", s.options.Now().Unix(), claims.Expiry.Unix())
}

// evaluateTrustPolicy returns an error if the role's trust policy does not allow the token.
// The reason is only in the log, because AWS does not return it.
func (s *Server) evaluateTrustPolicy(c *call, r *role, providerARN string, claims token.Claims, params webIdentity) error {
	document, err := trustpolicy.Parse([]byte(r.TrustPolicy))
	if err != nil {
		return err
	}
	request := trustpolicy.ForToken(providerARN, claims, params.sessionName)
	maps.Copy(request.Context, c.conditionKeys)
	if methods := authenticationMethods(params.token); len(methods) > 0 {
		request.Context[trustpolicy.IssuerOf(providerARN)+":amr"] = methods
	}
	decision := document.Evaluate(request)
	if decision.Allowed {
		return nil
	}
	c.logger.WarnContext(c.ctx, "Trust policy does not allow the token, returned AccessDenied as STS does", "reason", decision.Explain())
	return notAuthorized()
}

// requestConditionKeys returns the condition keys that every request has (IAM User Guide,
// reference_policies_variables, "Information available in all requests"). Without them, a
// Deny statement that uses one would never match. The keys of the caller's identity are
// missing because the call is not signed. The region is missing because the call does not
// contain it.
func requestConditionKeys(r *http.Request, now time.Time) map[string][]string {
	keys := map[string][]string{
		"aws:CurrentTime":     {timestamp(now)},
		"aws:EpochTime":       {strconv.FormatInt(now.Unix(), 10)},
		"aws:SecureTransport": {strconv.FormatBool(r.TLS != nil)},
	}
	if address, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		keys["aws:SourceIp"] = []string{address.Addr().Unmap().WithZone("").String()}
	}
	if agent := r.UserAgent(); agent != "" {
		keys["aws:UserAgent"] = []string{agent}
	}
	return keys
}

// authenticationMethods returns the claim amr of a verified token. It returns nil if the
// token has no such claim, or if the claim is not a list of strings.
func authenticationMethods(raw string) []string {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	content, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil
	}
	var claims struct {
		Methods []string `json:"amr"`
	}
	if json.Unmarshal(content, &claims) != nil {
		return nil
	}
	return claims.Methods
}

// sharedAudience returns the first audience of the token that is also a client ID of the
// provider. A verified token has at least one.
func sharedAudience(claims token.Claims, trusted *provider) string {
	i := slices.IndexFunc(claims.Audience, func(a string) bool { return slices.Contains(trusted.ClientIDs, a) })
	if i < 0 {
		return ""
	}
	return claims.Audience[i]
}
