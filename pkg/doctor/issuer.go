package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
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

// tokenSeconds is the least that the API server gives: the token is for a look.
const tokenSeconds = token.MinExpirationSeconds

func checkMinted(ctx context.Context, x *checkState) Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	subject, audience := token.Subject(x.namespace, x.serviceAccount), x.identity.Audience
	minted, err := x.Client.CoreV1().ServiceAccounts(x.namespace).CreateToken(ctx, x.serviceAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: new(tokenSeconds)},
	}, metav1.CreateOptions{})
	if err != nil {
		// The rest of the chain can be looked at without a token, if the API server
		// says who the issuer is.
		x.claims = token.Claims{Subject: subject, Audience: []string{audience}, Issuer: x.issuerByAPIServer(ctx)}
		return readErrorFinding(permission{"create", "serviceaccounts/token", x.namespace, x.serviceAccount}, err)
	}
	x.raw = minted.Status.Token
	claims, err := token.ParseUnverified(x.raw)
	if err != nil {
		x.raw = ""
		return newFinding(Broken, "the API server mints something else than a signed token: %v", err)
	}
	x.claims = claims
	return evaluateTokenRequest(claims, subject, audience)
}

// issuerByAPIServer is what the API server says of itself, or "".
func (x *checkState) issuerByAPIServer(ctx context.Context) string {
	client := x.Client.Discovery().RESTClient()
	if client == nil {
		return ""
	}
	body, err := client.Get().AbsPath(issuer.DiscoveryPath).Do(ctx).Raw()
	if err != nil {
		return ""
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if json.Unmarshal(body, &document) != nil {
		return ""
	}
	return document.Issuer
}

// evaluateTokenRequest says whether a token has the claims that AWS looks at.
func evaluateTokenRequest(claims token.Claims, subject, audience string) Finding {
	facts := func(f Finding) Finding {
		return f.withEvidence("iss", claims.Issuer).withEvidence("aud", strings.Join(claims.Audience, ", ")).withEvidence("sub", claims.Subject).withEvidence("kid", claims.KeyID)
	}
	switch parsed, err := url.Parse(claims.Issuer); {
	case claims.Subject != subject:
		return facts(newFinding(Broken, "a token of it has the subject %q, not %q", claims.Subject, subject))
	case !slices.Contains(claims.Audience, audience):
		return facts(newFinding(Broken, "a token of it is for %q, not for %q", claims.Audience, audience))
	case err != nil || parsed.Scheme != "https" || parsed.Host == "":
		return facts(newFinding(Broken, "the cluster's issuer is %q, which AWS does not take", claims.Issuer).
			withReason("it has to begin with https://: start the API server with such a --service-account-issuer, and the old one as a second, so that old tokens stay good"))
	}
	return facts(newFinding(OK, "a token of it has the right iss, aud and sub"))
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
		return newFinding(Skipped, "not looked at: the issuer is not known")
	}
	published, err := x.discover(ctx, x.claims.Issuer)
	if err != nil {
		return evaluateDiscoveryError(x.claims.Issuer, err)
	}
	x.published = published
	finding := newFinding(OK, "the discovery document and %s can be read from here", plural(len(published.Keys.Keys), "key")).
		withEvidence("issuer", published.URL).withEvidence("jwks_uri", published.JWKSURI)
	if host := privateHost(published.URL, published.JWKSURI); host != "" && !x.PrivateAWS && x.identity.STSEndpoint == "" {
		finding.Status = Broken
		finding.Summary = "AWS cannot read the issuer's documents: " + host + " is not on the internet"
		return withPublishFix(finding)
	}
	return finding
}

// withPublishFix says how to get the documents that are to be where AWS can read them. To
// put them there is for who knows where that is.
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

// evaluateDiscoveryError says why the issuer's documents cannot be read.
func evaluateDiscoveryError(issuerURL string, err error) Finding {
	what := "discovery document"
	if failed, ok := errors.AsType[*issuer.DiscoveryError](err); ok {
		what = string(failed.Step)
	}
	if hidden := privateHost(issuerURL); hidden != "" && !isLoopback(hidden) {
		return withPublishFix(newFinding(Broken, "the issuer is %s, which nobody outside of the cluster can read", issuerURL).
			withReason("publish its documents at a URL that AWS can read, and start the API server with that as --service-account-issuer"))
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return newFinding(Unknown, "the issuer's %s cannot be verified from here: its CA is not known on this machine", what).
			withReason("%v; give its CA by --issuer-ca-file", err)
	}
	return withPublishFix(newFinding(Broken, "the issuer's %s cannot be read from here, as AWS has to", what).withReason("%v", err))
}

func checkKeys(ctx context.Context, x *checkState) Finding {
	if x.raw == "" {
		return newFinding(Unknown, "without a token the key that signs now is not known")
	}
	_, err := x.published.Verify(ctx, x.raw, issuer.Expected{
		Audiences: []string{x.identity.Audience}, Subject: token.Subject(x.namespace, x.serviceAccount), Now: x.now,
	})
	finding, rest := evaluateSigningKey(x.claims.KeyID, x.published, err)
	x.verification = rest
	return finding
}

// evaluateSigningKey says whether the key that signs is published. What else is wrong with
// the token is for the next check.
func evaluateSigningKey(keyID string, published issuer.Issuer, err error) (Finding, *issuer.VerificationError) {
	wrong, ok := errors.AsType[*issuer.VerificationError](err)
	switch {
	case err == nil || ok && wrong.Reason != issuer.UnknownKey && wrong.Reason != issuer.BadSignature && wrong.Reason != issuer.Malformed:
		return newFinding(OK, "the key that signs now is published").withEvidence("kid", keyID), wrong
	case !ok:
		return newFinding(Unknown, "the token cannot be verified: %v", err), nil
	}
	return withPublishFix(newFinding(Broken, "the key that signs now is not published").
		withReason("%v; AWS refuses such tokens: write the documents anew, and upload them", wrong).
		withEvidence("kid", keyID).withEvidence("jwks_uri", published.JWKSURI)), nil
}

func checkClaims(_ context.Context, x *checkState) Finding {
	return evaluateClaims(x.verification, x.claims)
}

func evaluateClaims(wrong *issuer.VerificationError, claims token.Claims) Finding {
	if wrong == nil {
		return newFinding(OK, "the token is good by what the issuer publishes").withEvidence("valid until", claims.Expiry.UTC().Format(time.RFC3339))
	}
	finding := newFinding(Broken, "AWS would refuse the token: its %s is %s", wrong.Claim, wrong.Found).withReason("expected: %s", wrong.Expected)
	if wrong.Reason == issuer.Expired || wrong.Reason == issuer.NotYetValid {
		finding.Why += "; the clock of this machine or of the API server is wrong"
	}
	return finding
}
