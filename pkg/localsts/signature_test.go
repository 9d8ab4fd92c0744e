package localsts_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

// assumed returns the credentials of a new session of the role "checkout".
func (d *testServer) assumed(t *testing.T, c *cluster) *types.Credentials {
	t.Helper()
	response, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
	if err != nil {
		t.Fatal(err)
	}
	return response.Credentials
}

func TestAuthenticate(t *testing.T) {
	const (
		invalid  = "The security token included in the request is invalid."
		mismatch = "The request signature we calculated does not match the signature you provided...."
	)
	d, c := prepared(t)
	first, second := d.assumed(t, c), d.assumed(t, c)
	static := credentials.NewStaticCredentialsProvider
	for name, test := range map[string]struct {
		provider aws.CredentialsProvider
		code     string
		status   int
		message  string
	}{
		"administrator":                      {provider: static(adminKey, adminSecret, "")},
		"administrator, wrong secret":        {static(adminKey, "wrong", ""), "SignatureDoesNotMatch", 403, mismatch},
		"administrator, session token":       {static(adminKey, adminSecret, *first.SessionToken), "InvalidClientTokenId", 403, invalid},
		"unknown access key":                 {static("AKIAUNKNOWNUNKNOWN00", "x", ""), "InvalidClientTokenId", 403, invalid},
		"anonymous":                          {aws.AnonymousCredentials{}, "MissingAuthenticationToken", 403, "Request is missing Authentication Token"},
		"session":                            {provider: temporary(first)},
		"session, no token":                  {static(*first.AccessKeyId, *first.SecretAccessKey, ""), "InvalidClientTokenId", 403, invalid},
		"session, token of another session":  {static(*first.AccessKeyId, *first.SecretAccessKey, *second.SessionToken), "InvalidClientTokenId", 403, invalid},
		"session, secret of another session": {static(*first.AccessKeyId, *second.SecretAccessKey, *first.SessionToken), "SignatureDoesNotMatch", 403, mismatch},
		"session, modified token":            {static(*first.AccessKeyId, *first.SecretAccessKey, "A"+*first.SessionToken), "InvalidClientTokenId", 403, invalid},
		"session, not a token":               {static(*first.AccessKeyId, *first.SecretAccessKey, "bm9uZQ=="), "InvalidClientTokenId", 403, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.sts(test.provider).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			if test.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expectError(t, err, test.code, test.status, test.message)
		})
	}
}

func TestCredentials_expire(t *testing.T) {
	d, c := prepared(t)
	provider := temporary(d.assumed(t, c))
	d.clock.add(time.Hour)
	_, err := d.sts(provider).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectError(t, err, "ExpiredToken", 403, "The security token included in the request is expired")
}

func TestCredentials_roleDeleted(t *testing.T) {
	d, c := prepared(t)
	provider := temporary(d.assumed(t, c))
	if _, err := d.iam().DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("checkout")}); err != nil {
		t.Fatal(err)
	}
	d.createRole(t, "checkout", c.trustPolicyFor(minimalConditions))
	_, err := d.sts(provider).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectError(t, err, "InvalidClientTokenId", 403, "The security token included in the request is invalid.")
}

func TestIAM_sessionDenied(t *testing.T) {
	d, c := prepared(t)
	client := iam.NewFromConfig(d.config(temporary(d.assumed(t, c))))
	_, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("checkout")})
	expectError(t, err, "AccessDenied", 403, "User: arn:aws:sts::"+account+":assumed-role/checkout/"+session+
		" is not authorized to perform: iam:GetRole on resource: "+roleARN("checkout")+" because no identity-based policy allows the iam:GetRole action")
}

func TestSignature_clockSkew(t *testing.T) {
	d := newTestServer(t, nil)
	client := d.sts(credentials.NewStaticCredentialsProvider(adminKey, adminSecret, ""))
	d.clock.add(16 * time.Minute)
	_, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectError(t, err, "SignatureDoesNotMatch", 403, "Signature expired: ...")
	d.clock.add(-32 * time.Minute)
	_, err = client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectError(t, err, "SignatureDoesNotMatch", 403, "Signature not yet current: ...")
}

// parsedResponse is a response that is parsed without the SDK.
type parsedResponse struct {
	Status  int
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`
	Type    string `xml:"Error>Type"`
	Arn     string `xml:"GetCallerIdentityResult>Arn"`
}

func (d *testServer) do(t *testing.T, r *http.Request) parsedResponse {
	t.Helper()
	response, err := d.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	read := parsedResponse{Status: response.StatusCode}
	if err := xml.Unmarshal(body, &read); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return read
}

const whoForm = "Action=GetCallerIdentity&Version=2011-06-15"

func (d *testServer) post(t *testing.T, form string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.server.URL+"/", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return r
}

func hashOf(form string) string {
	sum := sha256.Sum256([]byte(form))
	return hex.EncodeToString(sum[:])
}

// signed signs a request with the administrator's credentials.
func signed(t *testing.T, r *http.Request, form, service string, at time.Time) *http.Request {
	t.Helper()
	err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: adminKey, SecretAccessKey: adminSecret},
		r, hashOf(form), service, "us-east-1", at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSignature_invalid(t *testing.T) {
	d := newTestServer(t, nil)
	now := d.clock.Now()
	replaced := func(old, now string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, now, 1))
		}
	}
	for name, test := range map[string]struct {
		update  func(*http.Request)
		service string
		code    string
		status  int
	}{
		"valid":                          {func(*http.Request) {}, "sts", "", 200},
		"another service":                {func(*http.Request) {}, "iam", "SignatureDoesNotMatch", 403},
		"another algorithm":              {replaced("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"), "sts", "IncompleteSignature", 400},
		"no signature":                   {replaced("Signature=", "Sign="), "sts", "IncompleteSignature", 400},
		"no credential":                  {replaced("Credential=", "Cred="), "sts", "IncompleteSignature", 400},
		"credential with too many parts": {replaced("/aws4_request", "/x/aws4_request"), "sts", "IncompleteSignature", 400},
		"scope with another date":        {replaced(now.UTC().Format("20060102"), "20200101"), "sts", "SignatureDoesNotMatch", 403},
		"changed header":                 {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, "sts", "SignatureDoesNotMatch", 403},
		"added x-amz header":             {func(r *http.Request) { r.Header.Set("X-Amz-Meta", "x") }, "sts", "SignatureDoesNotMatch", 403},
		"host not signed":                {replaced(";host", ""), "sts", "SignatureDoesNotMatch", 403},
		"no date":                        {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "sts", "IncompleteSignature", 400},
		"invalid date":                   {func(r *http.Request) { r.Header.Set("X-Amz-Date", "today") }, "sts", "IncompleteSignature", 400},
		"added URL parameter":            {func(r *http.Request) { r.URL.RawQuery = "DurationSeconds=900" }, "sts", "SignatureDoesNotMatch", 403},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, d.post(t, whoForm), whoForm, test.service, now)
			test.update(r)
			got := d.do(t, r)
			if got.Code != test.code || got.Status != test.status {
				t.Errorf("got %+v, want %d %s", got, test.status, test.code)
			}
		})
	}
	t.Run("another body", func(t *testing.T) {
		r := signed(t, d.post(t, whoForm), "Action=GetFoo", "sts", now)
		if got := d.do(t, r); got.Code != "SignatureDoesNotMatch" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestSignature_presigned(t *testing.T) {
	d := newTestServer(t, nil)
	presigned := func(expires string, at time.Time) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.server.URL+"/?"+whoForm+"&X-Amz-Expires="+expires, nil)
		if err != nil {
			t.Fatal(err)
		}
		// aws-iam-authenticator signs this header.
		r.Header.Set("x-k8s-aws-id", "the-cluster")
		signedURL, headers, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: adminKey, SecretAccessKey: adminSecret},
			r, hashOf(""), "sts", "us-east-1", at)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signedURL); err != nil {
			t.Fatal(err)
		}
		r.Header = headers
		return r
	}
	now := d.clock.Now()
	if got := d.do(t, presigned("60", now)); !strings.HasSuffix(got.Arn, ":user/local-sts-admin") {
		t.Errorf("got %+v", got)
	}
	late := presigned("60", now)
	d.clock.add(2 * time.Minute)
	if got := d.do(t, late); got.Code != "SignatureDoesNotMatch" || !strings.HasPrefix(got.Message, "Signature expired") {
		t.Errorf("after expiry: got %+v", got)
	}
	other := presigned("600", now)
	other.Header.Set("x-k8s-aws-id", "another-cluster")
	if got := d.do(t, other); got.Code != "SignatureDoesNotMatch" {
		t.Errorf("with another header: got %+v", got)
	}
	if got := d.do(t, presigned("1000000", now)); got.Code != "IncompleteSignature" {
		t.Errorf("expiry above the maximum: got %+v", got)
	}
}

func TestStateFile_credentialsSurviveRestart(t *testing.T) {
	file := t.TempDir() + "/state.json"
	withFile := func(o *localsts.Options) { o.StateFile = file }
	d, c := prepared(t, withFile)
	provider := temporary(d.assumed(t, c))
	again := newTestServer(t, c.Client(), withFile)
	identity, err := again.sts(provider).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(*identity.Arn, ":assumed-role/checkout/"+session) {
		t.Errorf("got ARN %s", *identity.Arn)
	}
	without := newTestServer(t, c.Client())
	_, err = without.sts(provider).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectError(t, err, "InvalidClientTokenId", 403, "The security token included in the request is invalid.")
}
