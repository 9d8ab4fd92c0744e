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

func checkMinted(ctx context.Context, x *examination) Finding {
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
		return unreadable(right{"create", "serviceaccounts/token", x.namespace, x.serviceAccount}, err)
	}
	x.raw = minted.Status.Token
	claims, err := token.ParseUnverified(x.raw)
	if err != nil {
		x.raw = ""
		return found(Broken, "the API server mints something else than a signed token: %v", err)
	}
	x.claims = claims
	return judgeMinted(claims, subject, audience)
}

// issuerByAPIServer is what the API server says of itself, or "".
func (x *examination) issuerByAPIServer(ctx context.Context) string {
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

// judgeMinted says whether a token has the claims that AWS looks at.
func judgeMinted(claims token.Claims, subject, audience string) Finding {
	facts := func(f Finding) Finding {
		return f.given("iss", claims.Issuer).given("aud", strings.Join(claims.Audience, ", ")).given("sub", claims.Subject).given("kid", claims.KeyID)
	}
	switch parsed, err := url.Parse(claims.Issuer); {
	case claims.Subject != subject:
		return facts(found(Broken, "a token of it has the subject %q, not %q", claims.Subject, subject))
	case !slices.Contains(claims.Audience, audience):
		return facts(found(Broken, "a token of it is for %q, not for %q", claims.Audience, audience))
	case err != nil || parsed.Scheme != "https" || parsed.Host == "":
		return facts(found(Broken, "the cluster's issuer is %q, which AWS does not take", claims.Issuer).
			because("it has to begin with https://: start the API server with such a --service-account-issuer, and the old one as a second, so that old tokens stay good"))
	}
	return facts(found(OK, "a token of it has the right iss, aud and sub"))
}

func (d *Doctor) discover(ctx context.Context, issuerURL string) (issuer.Issuer, error) {
	got := d.known.discovered.get(issuerURL, func() read[issuer.Issuer] {
		discovered, err := issuer.Discover(ctx, d.HTTP, issuerURL)
		return read[issuer.Issuer]{discovered, err}
	})
	return got.value, got.err
}

func checkDiscovery(ctx context.Context, x *examination) Finding {
	if x.claims.Issuer == "" {
		return found(Skipped, "not looked at: the issuer is not known")
	}
	published, err := x.discover(ctx, x.claims.Issuer)
	if err != nil {
		return judgeUndiscovered(x.claims.Issuer, err)
	}
	x.published = published
	finding := found(OK, "the discovery document and %s can be read from here", plural(len(published.Keys.Keys), "key")).
		given("issuer", published.URL).given("jwks_uri", published.JWKSURI)
	if host := hiddenFromAWS(published.URL, published.JWKSURI); host != "" && !x.PrivateAWS && x.identity.STSEndpoint == "" {
		finding.Status = Broken
		finding.Summary = "AWS cannot read the issuer's documents: " + host + " is not on the internet"
		return publish(finding)
	}
	return finding
}

// publish says how to get the documents that are to be where AWS can read them. To
// put them there is for who knows where that is.
func publish(finding Finding) Finding {
	return finding.mendedBy(irsaPlugin + " oidc documents -d site")
}

// hiddenFromAWS returns the host of the first URL that AWS cannot reach, or "".
func hiddenFromAWS(urls ...string) string {
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

// judgeUndiscovered says why the issuer's documents cannot be read.
func judgeUndiscovered(issuerURL string, err error) Finding {
	what := "discovery document"
	if failed, ok := errors.AsType[*issuer.DiscoveryError](err); ok {
		what = string(failed.Step)
	}
	if hidden := hiddenFromAWS(issuerURL); hidden != "" && !isLoopback(hidden) {
		return publish(found(Broken, "the issuer is %s, which nobody outside of the cluster can read", issuerURL).
			because("publish its documents at a URL that AWS can read, and start the API server with that as --service-account-issuer"))
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return found(Unknown, "the issuer's %s cannot be verified from here: its CA is not known on this machine", what).
			because("%v; give its CA by --issuer-ca-file", err)
	}
	return publish(found(Broken, "the issuer's %s cannot be read from here, as AWS has to", what).because("%v", err))
}

func checkKeys(ctx context.Context, x *examination) Finding {
	if x.raw == "" {
		return found(Unknown, "without a token the key that signs now is not known")
	}
	_, err := x.published.Verify(ctx, x.raw, issuer.Expected{
		Audiences: []string{x.identity.Audience}, Subject: token.Subject(x.namespace, x.serviceAccount), Now: x.now,
	})
	finding, rest := judgeKeys(x.claims.KeyID, x.published, err)
	x.verification = rest
	return finding
}

// judgeKeys says whether the key that signs is published. What else is wrong with
// the token is for the next check.
func judgeKeys(keyID string, published issuer.Issuer, err error) (Finding, *issuer.VerificationError) {
	wrong, ok := errors.AsType[*issuer.VerificationError](err)
	switch {
	case err == nil || ok && wrong.Reason != issuer.UnknownKey && wrong.Reason != issuer.BadSignature && wrong.Reason != issuer.Malformed:
		return found(OK, "the key that signs now is published").given("kid", keyID), wrong
	case !ok:
		return found(Unknown, "the token cannot be verified: %v", err), nil
	}
	return publish(found(Broken, "the key that signs now is not published").
		because("%v; AWS refuses such tokens: write the documents anew, and upload them", wrong).
		given("kid", keyID).given("jwks_uri", published.JWKSURI)), nil
}

func checkClaims(_ context.Context, x *examination) Finding {
	return judgeClaims(x.verification, x.claims)
}

func judgeClaims(wrong *issuer.VerificationError, claims token.Claims) Finding {
	if wrong == nil {
		return found(OK, "the token is good by what the issuer publishes").given("valid until", claims.Expiry.UTC().Format(time.RFC3339))
	}
	finding := found(Broken, "AWS would refuse the token: its %s is %s", wrong.Claim, wrong.Found).because("expected: %s", wrong.Expected)
	if wrong.Reason == issuer.Expired || wrong.Reason == issuer.NotYetValid {
		finding.Why += "; the clock of this machine or of the API server is wrong"
	}
	return finding
}
