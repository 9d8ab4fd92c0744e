package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
)

const (
	roleARN = "arn:aws:iam::111122223333:role/cart"
	// rawToken is not a valid token, because nothing parses it. No error may contain it.
	rawToken = "eyJhbGciOiJSUzI1NiJ9.eyJodW50ZXIyIjoxfQ.c2lnbmF0dXJl"
)

// response is the shortened example in the STS API reference of AssumeRoleWithWebIdentity.
const response = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:shop:cart</SubjectFromWebIdentityToken>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::111122223333:assumed-role/cart/cart-0</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:cart-0</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>the-session-token</SessionToken>
      <SecretAccessKey>the-secret</SecretAccessKey>
      <Expiration>2026-10-24T23:00:23Z</Expiration>
      <AccessKeyId>ASIAEXAMPLE</AccessKeyId>
    </Credentials>
    <Provider>arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>`

func errorResponse(code, message string) string {
	return fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
		`<Code>%s</Code><Message>%s</Message></Error><RequestId>the-request</RequestId></ErrorResponse>`, code, message)
}

// endpoint is a fake STS that stores the last request.
type endpoint struct {
	*httptest.Server
	calls         atomic.Int32
	form          url.Values
	authorization string
}

func newEndpoint(t *testing.T, respond func(w http.ResponseWriter, number int)) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		e.form, e.authorization = r.PostForm, r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "text/xml")
		w.Header().Set("X-Amzn-Requestid", "the-request") // the SDK reads the request ID from this header
		respond(w, int(e.calls.Add(1)))
	}))
	t.Cleanup(e.Close)
	return e
}

func newStaticEndpoint(t *testing.T, status int, body string) *endpoint {
	t.Helper()
	return newEndpoint(t, func(w http.ResponseWriter, _ int) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

// configFor returns a configuration for an endpoint, with credentials that must not be used.
func configFor(e *endpoint) aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &e.URL,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAOPERATOR", "secret", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		},
	}
}

func exchangeToken(t *testing.T, config aws.Config) (exchange.Result, error) {
	t.Helper()
	return exchange.WithWebIdentity(t.Context(), config, exchange.Input{
		RoleARN: roleARN, SessionName: "cart-0", Token: rawToken, Duration: 20 * time.Minute,
	})
}

func TestWithWebIdentity(t *testing.T) {
	sts := newStaticEndpoint(t, http.StatusOK, response)
	got, err := exchangeToken(t, configFor(sts))
	if err != nil {
		t.Fatal(err)
	}
	want := exchange.Result{
		Credentials: aws.Credentials{
			AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "the-secret", SessionToken: "the-session-token",
			Source: "AssumeRoleWithWebIdentity", CanExpire: true, Expires: time.Date(2026, 10, 24, 23, 0, 23, 0, time.UTC),
		},
		AssumedRoleARN: "arn:aws:sts::111122223333:assumed-role/cart/cart-0", AssumedRoleID: "AROACLKWSDQRAOEXAMPLE:cart-0",
		Provider: "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id", Audience: "sts.amazonaws.com",
		Subject: "system:serviceaccount:shop:cart",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, value := range map[string]string{
		"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": roleARN, "RoleSessionName": "cart-0",
		"WebIdentityToken": rawToken, "DurationSeconds": "1200",
	} {
		if sts.form.Get(name) != value {
			t.Errorf("got parameter %s=%q, want %q", name, sts.form.Get(name), value)
		}
	}
}

func TestWithWebIdentity_unsigned(t *testing.T) {
	sts := newStaticEndpoint(t, http.StatusOK, response)
	if _, err := exchangeToken(t, configFor(sts)); err != nil {
		t.Fatal(err)
	}
	if sts.authorization != "" {
		t.Error("call was signed with the operator's credentials")
	}
}

func TestWithWebIdentity_defaultDuration(t *testing.T) {
	sts := newStaticEndpoint(t, http.StatusOK, response)
	if _, err := exchange.WithWebIdentity(t.Context(), configFor(sts), exchange.Input{RoleARN: roleARN, SessionName: "x", Token: rawToken}); err != nil {
		t.Fatal(err)
	}
	if sts.form.Has("DurationSeconds") {
		t.Errorf("got DurationSeconds=%s, want none", sts.form.Get("DurationSeconds"))
	}
}

func TestError_reasonAndHint(t *testing.T) {
	// The types of the SDK define the codes. It has no type for AccessDenied.
	typed := map[exchange.Reason]smithy.APIError{
		exchange.InvalidIdentityToken:    &types.InvalidIdentityTokenException{},
		exchange.ExpiredToken:            &types.ExpiredTokenException{},
		exchange.IDPCommunicationError:   &types.IDPCommunicationErrorException{},
		exchange.IDPRejectedClaim:        &types.IDPRejectedClaimException{},
		exchange.RegionDisabled:          &types.RegionDisabledException{},
		exchange.PackedPolicyTooLarge:    &types.PackedPolicyTooLargeException{},
		exchange.MalformedPolicyDocument: &types.MalformedPolicyDocumentException{},
	}
	for reason, code := range map[exchange.Reason]string{
		exchange.AccessDenied: "AccessDenied", exchange.Other: "ValidationError",
	} {
		typed[reason] = &smithy.GenericAPIError{Code: code}
	}
	for reason, of := range typed {
		t.Run(of.ErrorCode(), func(t *testing.T) {
			_, err := exchangeToken(t, configFor(newStaticEndpoint(t, http.StatusBadRequest, errorResponse(of.ErrorCode(), "Because."))))
			failure, ok := errors.AsType[*exchange.Error](err)
			if !ok {
				t.Fatalf("got %v, want an exchange.Error", err)
			}
			if failure.Reason != reason || failure.Code != of.ErrorCode() || failure.Message != "Because." || failure.RequestID != "the-request" || failure.Status != http.StatusBadRequest {
				t.Errorf("got %+v, want reason %s", failure, reason)
			}
			if failure.Hint() == "" {
				t.Errorf("no hint for reason %s", reason)
			}
			for _, want := range []string{of.ErrorCode(), "Because.", "the-request", failure.Hint()} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestError_minioCodes(t *testing.T) {
	for code, reason := range map[string]exchange.Reason{"ExpiredToken": exchange.ExpiredToken, "InvalidClientGrantsToken": exchange.InvalidIdentityToken} {
		_, err := exchangeToken(t, configFor(newStaticEndpoint(t, http.StatusBadRequest, errorResponse(code, "Because."))))
		if failure, ok := errors.AsType[*exchange.Error](err); !ok || failure.Reason != reason || failure.Code != code {
			t.Errorf("got %v for %s, want reason %s", err, code, reason)
		}
	}
}

func TestWithWebIdentity_retriesIDPCommunicationError(t *testing.T) {
	sts := newEndpoint(t, func(w http.ResponseWriter, number int) {
		if number < 3 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, errorResponse("IDPCommunicationError", "No response."))
			return
		}
		fmt.Fprint(w, response)
	})
	if _, err := exchangeToken(t, configFor(sts)); err != nil {
		t.Errorf("after %d attempts: %v", sts.calls.Load(), err)
	}
}

func TestWithWebIdentity_doesNotRetryAccessDenied(t *testing.T) {
	sts := newStaticEndpoint(t, http.StatusForbidden, errorResponse("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"))
	if _, err := exchangeToken(t, configFor(sts)); err == nil || sts.calls.Load() != 1 {
		t.Errorf("got %d calls and error %v, want one call and an error", sts.calls.Load(), err)
	}
}

func TestError_unreachableOrUnexpectedResponse(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"web page":        {http.StatusOK, "<html><body>Welcome</body></html>"},
		"empty response":  {http.StatusOK, ""},
		"no credentials":  {http.StatusOK, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`},
		"page of a proxy": {http.StatusForbidden, "<html><body>Blocked</body></html>"},
		"not found":       {http.StatusNotFound, "404 page not found"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := exchangeToken(t, configFor(newStaticEndpoint(t, test.status, test.body)))
			failure, ok := errors.AsType[*exchange.Error](err)
			if !ok || failure.Reason != exchange.Other {
				t.Errorf("got %+v, %v, want reason %s", got, err, exchange.Other)
			}
		})
	}
	t.Run("no response", func(t *testing.T) {
		closed := newStaticEndpoint(t, http.StatusOK, response)
		closed.Close()
		_, err := exchangeToken(t, configFor(closed))
		failure, ok := errors.AsType[*exchange.Error](err)
		if !ok || failure.Reason != exchange.Unreachable || failure.Status != 0 {
			t.Errorf("got %+v, want reason %s", err, exchange.Unreachable)
		}
	})
	t.Run("context canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := exchange.WithWebIdentity(ctx, configFor(newStaticEndpoint(t, http.StatusOK, response)), exchange.Input{RoleARN: roleARN, SessionName: "x", Token: rawToken})
		if failure, ok := errors.AsType[*exchange.Error](err); !ok || failure.Reason != exchange.Unreachable || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestError_redactsToken(t *testing.T) {
	for name, body := range map[string]string{
		"in the message": errorResponse("InvalidIdentityToken", "what is "+rawToken+"?"),
		"in the code":    errorResponse(rawToken, "x"),
	} {
		_, err := exchangeToken(t, configFor(newStaticEndpoint(t, http.StatusBadRequest, body)))
		for ; err != nil; err = errors.Unwrap(err) {
			if strings.Contains(err.Error(), rawToken) {
				t.Errorf("token %s: error %q contains it", name, err)
			}
		}
	}
}

func TestWithWebIdentity_endpoint(t *testing.T) {
	sts := newStaticEndpoint(t, http.StatusOK, response)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": sts.URL, "AWS_REGION": "eu-central-1", "AWS_CONFIG_FILE": "/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	loaded, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exchangeToken(t, loaded); err != nil || sts.calls.Load() != 1 {
		t.Errorf("got %d calls to AWS_ENDPOINT_URL_STS and error %v, want one call", sts.calls.Load(), err)
	}
}

func TestWithWebIdentity_region(t *testing.T) {
	for name, test := range map[string]struct{ region, role, want string }{
		"the configured region":       {"eu-central-1", roleARN, "sts.eu-central-1.amazonaws.com"},
		"no region":                   {"", roleARN, "sts.us-east-1.amazonaws.com"},
		"no region, role in China":    {"", "arn:aws-cn:iam::111122223333:role/cart", "sts.cn-north-1.amazonaws.com.cn"},
		"no region, role in GovCloud": {"", "arn:aws-us-gov:iam::111122223333:role/cart", "sts.us-gov-west-1.amazonaws.com"},
		"no region, invalid role":     {"", "cart", "sts.us-east-1.amazonaws.com"},
	} {
		t.Run(name, func(t *testing.T) {
			client := recordingClient{}
			_, err := exchange.WithWebIdentity(t.Context(), aws.Config{Region: test.region, HTTPClient: &client, Retryer: func() aws.Retryer { return aws.NopRetryer{} }},
				exchange.Input{RoleARN: test.role, SessionName: "x", Token: rawToken})
			if err == nil || client.host != test.want {
				t.Errorf("got host %q, want %q", client.host, test.want)
			}
		})
	}
}

// recordingClient records the host of a request and returns an error without sending it.
type recordingClient struct{ host string }

func (c *recordingClient) Do(request *http.Request) (*http.Response, error) {
	c.host = request.URL.Host
	return nil, errors.New("no network in this test")
}
