package token

import (
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Claims is what a ServiceAccount token says of itself: the registered claims
// of RFC 7519 and the private "kubernetes.io" claim of a bound token (KEP-1205).
type Claims struct {
	// Issuer is the cluster's issuer URL; IAM must know an OIDC provider of
	// exactly this URL.
	Issuer string
	// Subject is "system:serviceaccount:<namespace>:<name>"; see Subject.
	Subject string
	// Audience is whom the token is meant for; IAM expects sts.amazonaws.com.
	Audience []string
	// IssuedAt, NotBefore and Expiry are zero where the token has none.
	IssuedAt, NotBefore, Expiry time.Time
	// KeyID names the key in the issuer's JWKS that the token is signed with.
	KeyID string

	Namespace      string
	ServiceAccount Object
	// Pod is the pod that the token is bound to: the API server takes it for void
	// once that pod is gone, and nobody else can tell. Zero for a token that is not
	// bound to a pod.
	Pod Object
}

// Object names the Kubernetes object that a token speaks of.
type Object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// privateClaims is the claim "kubernetes.io", as the API server writes it
// (k8s.io/kubernetes/pkg/serviceaccount).
type privateClaims struct {
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount Object `json:"serviceaccount"`
		Pod            Object `json:"pod"`
	} `json:"kubernetes.io"`
}

// signatureAlgorithms are those that Kubernetes signs ServiceAccount tokens with.
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
}

// The decoders' own errors may quote a piece of the token; these stand for them.
var (
	errNotJWT          = errors.New("parse ServiceAccount token: not a JSON Web Token signed with RS256..512 or ES256..512")
	errMalformedClaims = errors.New("parse ServiceAccount token: its claims are not those of a ServiceAccount token")
)

// ParseUnverified reads the claims of a token WITHOUT checking its signature,
// its times or its audience: for showing and for diagnosis only, never for a
// decision about access. Its errors never quote the token.
func ParseUnverified(raw string) (Claims, error) {
	signed, err := jwt.ParseSigned(raw, signatureAlgorithms)
	if err != nil {
		return Claims{}, errNotJWT
	}
	var registered jwt.Claims
	var private privateClaims
	if err := signed.UnsafeClaimsWithoutVerification(&registered, &private); err != nil {
		return Claims{}, errMalformedClaims
	}
	return Claims{
		Issuer:         registered.Issuer,
		Subject:        registered.Subject,
		Audience:       registered.Audience,
		IssuedAt:       registered.IssuedAt.Time(),
		NotBefore:      registered.NotBefore.Time(),
		Expiry:         registered.Expiry.Time(),
		KeyID:          signed.Headers[0].KeyID,
		Namespace:      private.Kubernetes.Namespace,
		ServiceAccount: private.Kubernetes.ServiceAccount,
		Pod:            private.Kubernetes.Pod,
	}, nil
}

// Subject returns the subject of the tokens of a ServiceAccount.
func Subject(namespace, serviceAccount string) string {
	return "system:serviceaccount:" + namespace + ":" + serviceAccount
}
