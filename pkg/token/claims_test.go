package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// boundToken is the payload of a token that an API server issues to a kubelet.
const boundToken = `{
  "iss": "https://oidc.example.com",
  "sub": "system:serviceaccount:amazon-cloudwatch:cloudwatch-agent",
  "aud": ["sts.amazonaws.com"],
  "iat": 1700000000, "nbf": 1700000000, "exp": 1700086400,
  "jti": "0d1c7f6a-6f0e-4c3e-8b0e-0c3e0b0f0a0d",
  "kubernetes.io": {
    "namespace": "amazon-cloudwatch",
    "pod": {"name": "cloudwatch-agent-x7k2p", "uid": "7f7f7f7f-0000-4000-8000-000000000001"},
    "serviceaccount": {"name": "cloudwatch-agent", "uid": "7f7f7f7f-0000-4000-8000-000000000002"}
  }
}`

func sign(t testing.TB, payload string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "the-key"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseUnverified_boundToken(t *testing.T) {
	got, err := token.ParseUnverified(sign(t, boundToken))
	if err != nil {
		t.Fatal(err)
	}
	want := token.Claims{
		Issuer:         "https://oidc.example.com",
		Subject:        token.Subject("amazon-cloudwatch", "cloudwatch-agent"),
		Audience:       []string{"sts.amazonaws.com"},
		IssuedAt:       time.Unix(1700000000, 0),
		NotBefore:      time.Unix(1700000000, 0),
		Expiry:         time.Unix(1700086400, 0),
		KeyID:          "the-key",
		Namespace:      "amazon-cloudwatch",
		ServiceAccount: token.Object{Name: "cloudwatch-agent", UID: "7f7f7f7f-0000-4000-8000-000000000002"},
		Pod:            token.Object{Name: "cloudwatch-agent-x7k2p", UID: "7f7f7f7f-0000-4000-8000-000000000001"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseUnverified_errorsDoNotQuoteToken(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
	symmetric, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wrongAlgorithm, err := jwt.Signed(symmetric).Claims(jwt.Claims{Issuer: secret}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"empty":                 "",
		"not a token":           secret,
		"broken encoding":       secret + "." + secret + "." + secret,
		"symmetric signature":   wrongAlgorithm,
		"payload is not JSON":   sign(t, secret),
		"claim of another type": sign(t, `{"iss": ["`+secret+`"]}`),
		"private claim of another type": sign(t,
			`{"kubernetes.io": "`+secret+`"}`),
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := token.ParseUnverified(raw)
			if err == nil {
				t.Fatalf("got claims %+v, want an error", claims)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error contains the token: %v", err)
			}
		})
	}
}

func FuzzParseUnverified(f *testing.F) {
	f.Add(sign(f, boundToken))
	f.Add(sign(f, `{}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		claims, err := token.ParseUnverified(raw)
		if err != nil && !reflect.DeepEqual(claims, token.Claims{}) {
			t.Errorf("got claims %+v with an error", claims)
		}
	})
}
