package token

import (
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Claims are the claims of a ServiceAccount token: the registered claims of RFC 7519 and
// the private claim "kubernetes.io" of a bound token (KEP-1205).
type Claims struct {
	// Issuer is the cluster's issuer URL. IAM must have an OIDC provider with exactly this
	// URL.
	Issuer string
	// Subject is "system:serviceaccount:<namespace>:<name>"; see Subject.
	Subject string
	// Audience lists the intended recipients of the token. IAM expects sts.amazonaws.com.
	Audience []string
	// IssuedAt, NotBefore and Expiry are zero if the token does not contain them.
	IssuedAt, NotBefore, Expiry time.Time
	// KeyID is the ID of the signing key in the issuer's JWKS.
	KeyID string

	Namespace      string
	ServiceAccount Object
	// Pod is the pod that the token is bound to, or zero if it is not bound to a pod. The
	// API server rejects the token after the pod is deleted. Other verifiers cannot detect
	// the deletion.
	Pod Object
}

// Object is a reference to a Kubernetes object in a token.
type Object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// privateClaims is the claim "kubernetes.io" in the format of the API server
// (k8s.io/kubernetes/pkg/serviceaccount).
type privateClaims struct {
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount Object `json:"serviceaccount"`
		Pod            Object `json:"pod"`
	} `json:"kubernetes.io"`
}

// signatureAlgorithms are the algorithms with which Kubernetes signs ServiceAccount tokens.
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
}

// These errors replace the errors of the decoders, which can quote a part of the token.
var (
	errNotJWT          = errors.New("parse ServiceAccount token: not a JSON Web Token signed with RS256..512 or ES256..512")
	errMalformedClaims = errors.New("parse ServiceAccount token: invalid claims")
)

// ParseUnverified returns the claims of a token WITHOUT verifying its signature, its times or
// its audience. Use it only for display and diagnosis, never for an access decision. It
// returns an error if raw is not a token of a ServiceAccount. Its errors never quote the token.
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
