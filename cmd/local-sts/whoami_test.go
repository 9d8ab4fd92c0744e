package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	caller = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::111122223333:assumed-role/app/session</Arn><UserId>AROAEXAMPLE:session</UserId><Account>111122223333</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>`
	denied = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>1</RequestId></ErrorResponse>`
	rawToken       = "header.claims.signature"
	callerIdentity = "Account  111122223333\nUserId   AROAEXAMPLE:session\nArn      arn:aws:sts::111122223333:assumed-role/app/session\n"
)

// newSTS starts an STS that accepts rawToken. It closes the connection of the first failures
// calls without a response. If deny is true, it denies all other calls.
func newSTS(t *testing.T, deny bool, failures int32) *httptest.Server {
	t.Helper()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch action := r.FormValue("Action"); {
		case calls.Add(1) <= failures:
			panic(http.ErrAbortHandler)
		case deny || action == "AssumeRoleWithWebIdentity" && r.FormValue("WebIdentityToken") != rawToken:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, denied)
		case action == "AssumeRoleWithWebIdentity":
			fmt.Fprint(w, assumed)
		case action == "GetCallerIdentity" && strings.Contains(r.Header.Get("Authorization"), "Credential=ASIAEXAMPLE/"):
			fmt.Fprint(w, caller)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestWhoami_environmentOnly(t *testing.T) {
	for name, test := range map[string]struct {
		deny     bool
		failures int32
		unset    string
		want     string
		errors   []string
	}{
		"assumed role":           {want: callerIdentity},
		"retries after failures": {failures: 2, want: callerIdentity},
		"access denied":          {deny: true, errors: []string{"AccessDenied", "Not authorized"}},
		"token variable missing": {unset: tokenVariable, errors: []string{tokenVariable + " is not set", "the webhook"}},
		"region missing":         {unset: "AWS_REGION", errors: []string{"AWS_REGION", "--aws-default-region"}},
		"too many failures":      {failures: 100, errors: []string{"exceeded maximum number of attempts, 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(rawToken), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, variable := range os.Environ() {
				if key, _, _ := strings.Cut(variable, "="); strings.HasPrefix(key, "AWS_") {
					t.Setenv(key, "") // so that the test restores it at the end
				}
			}
			for key, value := range map[string]string{
				"HOME": t.TempDir(), "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "3",
				"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_STS": newSTS(t, test.deny, test.failures).URL,
				roleVariable: "arn:aws:iam::111122223333:role/app", tokenVariable: file,
			} {
				if key != test.unset {
					t.Setenv(key, value)
				}
			}
			var stdout bytes.Buffer
			err := whoami(t.Context(), &stdout)
			if (err == nil) != (test.errors == nil) || stdout.String() != test.want {
				t.Fatalf("got %q and %v, want %q", stdout.String(), err, test.want)
			}
			for _, want := range test.errors {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), rawToken) {
				t.Errorf("error contains the token: %v", err)
			}
		})
	}
}
