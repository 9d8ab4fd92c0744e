package localsts_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

const (
	account     = "111122223333"
	adminKey    = "AKIALOCALSTSADMIN000"
	adminSecret = "the-secret-of-the-administrator"
	audience    = "sts.amazonaws.com"
	subject     = "system:serviceaccount:shop:checkout"
	session     = "checkout-1"
)

// clock is a clock that a test can advance.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now().Truncate(time.Second)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// cluster is an issuer with a signing key, as an API server is.
type cluster struct {
	*httptest.Server
	mu         sync.Mutex
	publicKeys []crypto.PublicKey
	key        *ecdsa.PrivateKey
	reads      int
	fails      bool
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{key: newKey(t)}
	c.publicKeys = []crypto.PublicKey{c.key.Public()}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	documents, err := issuer.NewDocuments(c.URL, c.URL+"/keys", c.publicKeys)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	content := documents.Discovery
	if r.URL.Path == "/keys" {
		c.reads++
		content = documents.JWKS
	}
	_, _ = w.Write(content)
}

// rotate makes the cluster sign with a new key. The old one stays published.
func (c *cluster) rotate(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = newKey(t)
	c.publicKeys = append(c.publicKeys, c.key.Public())
}

func (c *cluster) providerARN() string {
	return "arn:aws:iam::" + account + ":oidc-provider/" + c.host()
}

func (c *cluster) host() string { return strings.TrimPrefix(c.URL, "https://") }

// claims returns the claims of a valid token.
func (c *cluster) claims(now time.Time) map[string]any {
	return map[string]any{
		"iss": c.URL, "sub": subject, "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func (c *cluster) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	return signWith(t, c.key, claims)
}

func signWith(t testing.TB, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	id, err := issuer.KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signAs(t, key, id, claims)
}

func signAs(t testing.TB, key *ecdsa.PrivateKey, id string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// testServer is a local-sts that serves HTTP, and the clients of the SDK for it.
type testServer struct {
	server *httptest.Server
	clock  *clock
}

func newTestServer(t testing.TB, client *http.Client, change ...func(*localsts.Options)) *testServer {
	t.Helper()
	d := &testServer{clock: newClock()}
	options := localsts.Options{
		AccountID: account, AdminAccessKeyID: adminKey, AdminSecretAccessKey: adminSecret,
		IssuerClient: client, Now: d.clock.Now,
	}
	for _, change := range change {
		change(&options)
	}
	handler, err := localsts.New(options)
	if err != nil {
		t.Fatal(err)
	}
	d.server = httptest.NewServer(handler)
	t.Cleanup(d.server.Close)
	return d
}

// config returns the configuration of a client that does not retry error responses. It does
// retry broken connections, which happen on a busy machine.
func (d *testServer) config(provider aws.CredentialsProvider) aws.Config {
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: aws.String(d.server.URL), Credentials: provider,
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.Retryables = []retry.IsErrorRetryable{retry.RetryableConnectionError{}}
			})
		},
	}
}

func (d *testServer) iam() *iam.Client {
	return iam.NewFromConfig(d.config(credentials.NewStaticCredentialsProvider(adminKey, adminSecret, "")))
}

func (d *testServer) sts(provider aws.CredentialsProvider) *sts.Client {
	return sts.NewFromConfig(d.config(provider))
}

// trustPolicyFor returns a trust policy for the cluster with conditions as JSON.
func (c *cluster) trustPolicyFor(conditions string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
		"Principal": {"Federated": "` + c.providerARN() + `"}, "Action": "sts:AssumeRoleWithWebIdentity",
		"Condition": ` + strings.ReplaceAll(conditions, "ISSUER", c.host()) + `}]}`
}

const minimalConditions = `{"StringEquals": {"ISSUER:sub": "` + subject + `", "ISSUER:aud": "` + audience + `"}}`

// prepared returns a server that has the cluster's provider and the role "checkout".
func prepared(t testing.TB, change ...func(*localsts.Options)) (*testServer, *cluster) {
	t.Helper()
	c := newCluster(t)
	d := newTestServer(t, c.Client(), change...)
	if _, err := d.iam().CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(c.URL), ClientIDList: []string{audience},
	}); err != nil {
		t.Fatal(err)
	}
	d.createRole(t, "checkout", c.trustPolicyFor(minimalConditions))
	return d, c
}

func (d *testServer) createRole(t testing.TB, name, trust string) {
	t.Helper()
	if _, err := d.iam().CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(trust),
	}); err != nil {
		t.Fatal(err)
	}
}

func roleARN(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

func assume(token string) *sts.AssumeRoleWithWebIdentityInput {
	return &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(roleARN("checkout")), RoleSessionName: aws.String(session), WebIdentityToken: aws.String(token),
	}
}

// expectError fails the test unless err is AWS's error with this code, status and message. If
// message ends in three dots, only the text before them is compared.
func expectError(t *testing.T, err error, code string, status int, message string) {
	t.Helper()
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		t.Fatalf("got %v, want %s", err, code)
	}
	if answer.ErrorCode() != code {
		t.Errorf("got code %q, want %q (%s)", answer.ErrorCode(), code, answer.ErrorMessage())
	}
	start, short := strings.CutSuffix(message, "...")
	if got := answer.ErrorMessage(); got != message && (!short || !strings.HasPrefix(got, start)) {
		t.Errorf("got message %q, want %q", got, message)
	}
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok {
		t.Fatalf("got %v, want an error with an HTTP response", err)
	}
	if response.HTTPStatusCode() != status {
		t.Errorf("got status %d, want %d", response.HTTPStatusCode(), status)
	}
	if response.ServiceRequestID() == "" {
		t.Error("response has no request ID")
	}
}

// expectType fails the test unless err wraps an error of the type T of the SDK.
func expectType[T error](t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[T](err); !ok {
		t.Errorf("got %v, want an error of type %T", err, *new(T))
	}
}

func kidOf(t testing.TB, raw string) string {
	t.Helper()
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}

// untrusting configures a client that does not trust the CA of the issuer.
func untrusting(o *localsts.Options) { o.IssuerClient = &http.Client{Transport: &http.Transport{}} }
