package issuer_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

const (
	issuerURL = "https://oidc.example.com/id"
	audience  = "sts.amazonaws.com"
)

var subject = token.Subject("shop", "cart")

// claims returns the claims of a valid token with some of them replaced. A nil value removes a
// claim.
func claims(replaced map[string]any) map[string]any {
	all := map[string]any{
		"iss": issuerURL, "sub": subject, "aud": []string{audience},
		"iat": at.Unix(), "nbf": at.Unix(), "exp": at.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]string{"name": "cart", "uid": "1"}},
	}
	maps.Copy(all, replaced)
	for name, value := range all {
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key crypto.Signer, keyID string, payload any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(must(json.Marshal(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return must(signed.CompactSerialize())
}

func signed(t testing.TB, replaced map[string]any) string {
	t.Helper()
	return sign(t, jose.ES256, ecKey, must(issuer.KeyID(ecKey.Public())), claims(replaced))
}

// testIssuer returns an issuer with the keys ecKey and rsaKey.
func testIssuer(t testing.TB) issuer.Issuer {
	t.Helper()
	keys, err := issuer.KeySet([]crypto.PublicKey{ecKey.Public(), rsaKey.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return issuer.Issuer{URL: issuerURL, JWKSURI: issuerURL + "/openid/v1/jwks", Keys: keys}
}

func expected() issuer.Expected {
	return issuer.Expected{Audiences: []string{audience}, Subject: subject, Now: func() time.Time { return at }}
}

func TestVerify(t *testing.T) {
	for name, raw := range map[string]string{
		"ECDSA":                       signed(t, nil),
		"RSA":                         sign(t, jose.RS256, rsaKey, must(issuer.KeyID(rsaKey.Public())), claims(nil)),
		"no key ID":                   sign(t, jose.ES256, ecKey, "", claims(nil)),
		"several audiences":           signed(t, map[string]any{"aud": []string{"vault", audience}}),
		"audience is not a list":      signed(t, map[string]any{"aud": audience}),
		"no nbf":                      signed(t, map[string]any{"nbf": nil}),
		"nbf 4 minutes in the future": signed(t, map[string]any{"nbf": at.Add(4 * time.Minute).Unix()}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := testIssuer(t).Verify(t.Context(), raw, expected())
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != subject || got.ServiceAccount.Name != "cart" || !got.Expiry.Equal(at.Add(time.Hour)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestVerify_errors(t *testing.T) {
	valid := signed(t, nil)
	header, rest, _ := strings.Cut(valid, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	encode := base64.RawURLEncoding.EncodeToString
	id := must(issuer.KeyID(ecKey.Public()))

	for name, test := range map[string]struct {
		raw  string
		want issuer.VerificationError
	}{
		"empty":          {"", issuer.VerificationError{Reason: issuer.Malformed}},
		"not a token":    {"hunter2", issuer.VerificationError{Reason: issuer.Malformed}},
		"unsigned token": {encode([]byte(`{"alg":"none"}`)) + "." + payload + ".", issuer.VerificationError{Reason: issuer.Malformed}},
		// The HMAC secret is the public key. A verifier that uses the algorithm in the token
		// would accept this token.
		"HMAC with the public key": {hmacSigned(t, payload), issuer.VerificationError{Reason: issuer.Malformed}},
		"token of another cluster": {
			sign(t, jose.ES256, otherKey, must(issuer.KeyID(otherKey.Public())), claims(nil)),
			issuer.VerificationError{Reason: issuer.UnknownKey, Claim: "kid", Found: must(issuer.KeyID(otherKey.Public())), Expected: id},
		},
		"another key with a known ID": {
			sign(t, jose.ES256, otherKey, id, claims(nil)), issuer.VerificationError{Reason: issuer.BadSignature, Found: id},
		},
		"another key without an ID": {
			sign(t, jose.ES256, otherKey, "", claims(nil)), issuer.VerificationError{Reason: issuer.BadSignature, Found: "any of the issuer's keys"},
		},
		"changed claims": {
			header + "." + encode(must(json.Marshal(claims(map[string]any{"sub": "system:serviceaccount:kube-system:admin"})))) + "." + signature,
			issuer.VerificationError{Reason: issuer.BadSignature, Found: id},
		},
		"another issuer": {
			signed(t, map[string]any{"iss": issuerURL + "/"}),
			issuer.VerificationError{Reason: issuer.WrongIssuer, Claim: "iss", Found: issuerURL + "/", Expected: issuerURL},
		},
		"audience of the API server": {
			signed(t, map[string]any{"aud": []string{"https://kubernetes.default.svc"}}),
			issuer.VerificationError{Reason: issuer.WrongAudience, Claim: "aud", Found: "https://kubernetes.default.svc", Expected: audience},
		},
		"no audience": {
			signed(t, map[string]any{"aud": nil}), issuer.VerificationError{Reason: issuer.WrongAudience, Claim: "aud", Found: "[]", Expected: audience},
		},
		"expires now": {
			signed(t, map[string]any{"exp": at.Unix()}),
			issuer.VerificationError{Reason: issuer.Expired, Claim: "exp", Found: "2023-11-14T22:13:20Z", Expected: "after 2023-11-14T22:13:20Z"},
		},
		"no expiry": {
			signed(t, map[string]any{"exp": nil}), issuer.VerificationError{Reason: issuer.Expired, Claim: "exp", Found: "missing"},
		},
		"valid next week": {
			signed(t, map[string]any{"nbf": at.AddDate(0, 0, 7).Unix()}),
			issuer.VerificationError{Reason: issuer.NotYetValid, Claim: "nbf", Found: "2023-11-21T22:13:20Z", Expected: "not after 2023-11-14T22:13:20Z"},
		},
		"another ServiceAccount": {
			signed(t, map[string]any{"sub": token.Subject("shop", "till")}),
			issuer.VerificationError{Reason: issuer.WrongSubject, Claim: "sub", Found: token.Subject("shop", "till"), Expected: subject},
		},
		"several errors, wrong issuer first": {
			signed(t, map[string]any{"iss": "x", "aud": nil, "exp": nil, "sub": "x"}), issuer.VerificationError{Reason: issuer.WrongIssuer, Claim: "iss"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := testIssuer(t).Verify(t.Context(), test.raw, expected())
			failure, ok := errors.AsType[*issuer.VerificationError](err)
			if !ok {
				t.Fatalf("got %+v, %v, want a VerificationError", got, err)
			}
			if failure.Reason != test.want.Reason || failure.Claim != test.want.Claim {
				t.Errorf("got %s for claim %q, want %s for claim %q", failure.Reason, failure.Claim, test.want.Reason, test.want.Claim)
			}
			if !strings.Contains(failure.Found, test.want.Found) || !strings.Contains(failure.Expected, test.want.Expected) {
				t.Errorf("got found %s and expected %s, want %s and %s", failure.Found, failure.Expected, test.want.Found, test.want.Expected)
			}
			for _, want := range []string{failure.Claim, failure.Found, failure.Expected} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if quotes(err.Error(), test.raw) {
				t.Errorf("error %q contains the token", err)
			}
			if got.Subject != "" {
				t.Errorf("got claims %+v of an invalid token", got)
			}
		})
	}
}

func TestVerify_noExpectedAudience(t *testing.T) {
	want := expected()
	want.Audiences = nil
	_, err := testIssuer(t).Verify(t.Context(), signed(t, nil), want)
	if failure, ok := errors.AsType[*issuer.VerificationError](err); !ok || failure.Reason != issuer.WrongAudience {
		t.Errorf("got %v, want %s", err, issuer.WrongAudience)
	}
}

func TestVerify_anySubject(t *testing.T) {
	want := expected()
	want.Subject = ""
	if _, err := testIssuer(t).Verify(t.Context(), signed(t, map[string]any{"sub": token.Subject("a", "b")}), want); err != nil {
		t.Error(err)
	}
}

func hmacSigned(t testing.TB, payload string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + payload
	mac := hmac.New(sha256.New, must(issuer.NewDocuments(issuerURL, issuerURL, []crypto.PublicKey{ecKey.Public()})).JWKS)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// quotes reports whether an error contains a part of a token.
func quotes(err, raw string) bool {
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) > 6 && strings.Contains(err, part) {
			return true
		}
	}
	return false
}

func FuzzVerify(f *testing.F) {
	for _, replaced := range []map[string]any{nil, {"aud": nil}, {"iss": "x"}, {"exp": nil}, {"sub": 1}} {
		f.Add(signed(f, replaced))
	}
	f.Add("")
	f.Add("..")
	forged := sign(f, jose.ES256, otherKey, must(issuer.KeyID(ecKey.Public())), claims(nil))
	f.Add(forged)
	valid, i := signed(f, nil), testIssuer(f)
	want := must(token.ParseUnverified(valid))
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := i.Verify(t.Context(), raw, expected())
		if err == nil {
			if !reflect.DeepEqual(got, want) { // the only valid token that the issuer has signed
				t.Errorf("token %q was accepted", raw)
			}
			return
		}
		if _, ok := errors.AsType[*issuer.VerificationError](err); !ok {
			t.Errorf("got %v, want a VerificationError", err)
		}
	})
}
