package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// tokenSeconds is the lifetime of the token: the minimum that the API server allows.
const tokenSeconds = token.MinExpirationSeconds

func checkTokenRequest(ctx context.Context, x *checkState) Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	subject, audience := token.Subject(x.namespace, x.serviceAccount), x.identity.Audience
	response, err := x.Client.CoreV1().ServiceAccounts(x.namespace).CreateToken(ctx, x.serviceAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: new(tokenSeconds)},
	}, metav1.CreateOptions{})
	if err != nil {
		// The following checks can run without a token if the API server returns the URL
		// of its issuer.
		x.claims = token.Claims{Subject: subject, Audience: []string{audience}}
		if client := x.Client.Discovery().RESTClient(); client != nil { // a fake client has none
			x.claims.Issuer, _ = provision.FindIssuer(ctx, client)
		}
		return readErrorFinding(permission{"create", "serviceaccounts/token", x.namespace, x.serviceAccount}, err)
	}
	x.raw = response.Status.Token
	claims, err := token.ParseUnverified(x.raw)
	if err != nil {
		x.raw = ""
		return newFinding(Broken, "the API server returned an invalid token: %v", err)
	}
	x.claims = claims
	return evaluateTokenRequest(claims, subject, audience)
}

// evaluateTokenRequest checks the claims of a token that AWS uses.
func evaluateTokenRequest(claims token.Claims, subject, audience string) Finding {
	facts := func(f Finding) Finding {
		return f.withEvidence("iss", claims.Issuer).withEvidence("aud", strings.Join(claims.Audience, ", ")).withEvidence("sub", claims.Subject).withEvidence("kid", claims.KeyID)
	}
	switch parsed, err := url.Parse(claims.Issuer); {
	case claims.Subject != subject:
		return facts(newFinding(Broken, "the token has subject %q, not %q", claims.Subject, subject))
	case !slices.Contains(claims.Audience, audience):
		return facts(newFinding(Broken, "the token has audiences %q, not %q", claims.Audience, audience))
	case err != nil || parsed.Scheme != "https" || parsed.Host == "":
		return facts(newFinding(Broken, "the cluster's issuer %q is not an https URL", claims.Issuer).
			withReason("AWS accepts only https:// issuers; start the API server with such a --service-account-issuer, and the old one as the second, so that old tokens stay valid"))
	}
	return facts(newFinding(OK, "the token has an https issuer and the expected audience and subject"))
}

func (d *Doctor) discover(ctx context.Context, issuerURL string) (issuer.Issuer, error) {
	got := d.known.discovered.get(issuerURL, func() readResult[issuer.Issuer] {
		discovered, err := issuer.Discover(ctx, d.HTTP, issuerURL)
		return readResult[issuer.Issuer]{discovered, err}
	})
	return got.value, got.err
}

func checkDiscovery(ctx context.Context, x *checkState) Finding {
	if x.claims.Issuer == "" {
		return newFinding(Skipped, "skipped: the cluster's issuer is unknown")
	}
	published, err := x.discover(ctx, x.claims.Issuer)
	if err != nil {
		return evaluateDiscoveryError(x.claims.Issuer, err, x.privateSTS())
	}
	x.published = published
	finding := newFinding(OK, "the issuer's discovery document and %s are readable from here", plural(len(published.Keys.Keys), "key")).
		withEvidence("issuer", published.URL).withEvidence("jwks_uri", published.JWKSURI)
	if host := privateHost(published.URL, published.JWKSURI); host != "" && !x.privateSTS() {
		finding.Status = Broken
		finding.Summary = "AWS cannot read the issuer's documents: " + host + " is not on the internet"
		return withPublishFix(finding)
	}
	return finding
}

// privateSTS reports whether an STS other than that of AWS reads the issuer's documents.
// It can be in the same private network as the issuer.
func (x *checkState) privateSTS() bool { return x.PrivateAWS || x.identity.STSEndpoint != "" }

// withPublishFix adds the command that writes the issuer's documents. The user must upload
// them, because doctor does not know the location.
func withPublishFix(finding Finding) Finding {
	return finding.withFix(irsaPlugin + " oidc documents -d site")
}

// privateHost returns the host of the first URL that AWS cannot reach, or "".
func privateHost(urls ...string) string {
	for _, raw := range urls {
		parsed, err := url.Parse(raw)
		if err != nil {
			continue
		}
		if host := parsed.Hostname(); provision.IsPrivate(host) {
			return host
		}
	}
	return ""
}

// evaluateDiscoveryError evaluates an error from reading the issuer's documents.
func evaluateDiscoveryError(issuerURL string, err error, privateSTS bool) Finding {
	document := "discovery document"
	if failed, ok := errors.AsType[*issuer.DiscoveryError](err); ok {
		document = string(failed.Step)
	}
	hidden := privateHost(issuerURL)
	if hidden != "" && !isLoopback(hidden) && !privateSTS {
		return withPublishFix(newFinding(Broken, "issuer %s is not readable from outside the cluster", issuerURL).
			withReason("publish its documents at a URL that AWS can read, and start the API server with that URL as --service-account-issuer"))
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return newFinding(Unknown, "cannot verify the issuer's %s: this machine does not trust its CA", document).
			withReason("%v; pass the CA with --issuer-ca-file", err)
	}
	// Every error of the HTTP client is a net.Error. A response of the server is not.
	if _, unreachable := errors.AsType[net.Error](err); unreachable && hidden != "" && privateSTS {
		return newFinding(Unknown, "issuer %s is not reachable from here", issuerURL).
			withReason("%v; your STS may still reach it, because it is not the STS of AWS", err)
	}
	return withPublishFix(newFinding(Broken, "cannot read the issuer's %s, which AWS must read", document).withReason("%v", err))
}

func checkKeys(ctx context.Context, x *checkState) Finding {
	if x.raw == "" {
		return newFinding(Unknown, "the current signing key is unknown without a token")
	}
	_, err := x.published.Verify(ctx, x.raw, issuer.Expected{
		Audiences: []string{x.identity.Audience}, Subject: token.Subject(x.namespace, x.serviceAccount), Now: x.now,
	})
	finding, rest := evaluateSigningKey(x.claims.KeyID, x.published, err)
	x.verification = rest
	return finding
}

// evaluateSigningKey checks whether the current signing key is published. It returns other
// faults of the token for checkClaims.
func evaluateSigningKey(keyID string, published issuer.Issuer, err error) (Finding, *issuer.VerificationError) {
	wrong, ok := errors.AsType[*issuer.VerificationError](err)
	switch {
	case err == nil || ok && wrong.Reason != issuer.UnknownKey && wrong.Reason != issuer.BadSignature && wrong.Reason != issuer.Malformed:
		return newFinding(OK, "the current signing key is published").withEvidence("kid", keyID), wrong
	case !ok:
		return newFinding(Unknown, "cannot verify the token: %v", err), nil
	}
	return withPublishFix(newFinding(Broken, "the current signing key is not published").
		withReason("%v; AWS rejects such tokens; write the issuer's documents again and upload them", wrong).
		withEvidence("kid", keyID).withEvidence("jwks_uri", published.JWKSURI)), nil
}

func checkClaims(_ context.Context, x *checkState) Finding {
	return evaluateClaims(x.verification, x.claims)
}

func evaluateClaims(wrong *issuer.VerificationError, claims token.Claims) Finding {
	if wrong == nil {
		return newFinding(OK, "the token is valid according to the issuer's published documents").withEvidence("valid until", claims.Expiry.UTC().Format(time.RFC3339))
	}
	finding := newFinding(Broken, "AWS would reject the token: its %s is %s", wrong.Claim, wrong.Found).withReason("expected: %s", wrong.Expected)
	if wrong.Reason == issuer.Expired || wrong.Reason == issuer.NotYetValid {
		finding.Why += "; the clock of this machine or of the API server is wrong"
	}
	return finding
}
