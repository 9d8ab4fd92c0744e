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
	rawToken = "header.claims.signature"
	whoAppIs = "Account  111122223333\nUserId   AROAEXAMPLE:session\nArn      arn:aws:sts::111122223333:assumed-role/app/session\n"
)

// answering is an STS that knows the token, and does not answer the first calls.
func answering(t *testing.T, refuses bool, silent int32) *httptest.Server {
	t.Helper()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch action := r.FormValue("Action"); {
		case calls.Add(1) <= silent:
			panic(http.ErrAbortHandler)
		case refuses || action == "AssumeRoleWithWebIdentity" && r.FormValue("WebIdentityToken") != rawToken:
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
		refuses bool
		silent  int32
		unset   string
		want    string
		fails   []string
	}{
		"and prints the assumed role":         {want: whoAppIs},
		"and again while nobody answers":      {silent: 2, want: whoAppIs},
		"and says that it is refused":         {refuses: true, fails: []string{"AccessDenied", "Not authorized"}},
		"and says if the webhook was not":     {unset: tokenVariable, fails: []string{tokenVariable + " is not set", "the webhook"}},
		"and says that a region is missing":   {unset: "AWS_REGION", fails: []string{"AWS_REGION", "--aws-default-region"}},
		"and gives up where STS never speaks": {silent: 100, fails: []string{"exceeded maximum number of attempts, 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(rawToken), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, variable := range os.Environ() {
				if key, _, _ := strings.Cut(variable, "="); strings.HasPrefix(key, "AWS_") {
					t.Setenv(key, "") // to be set again afterwards
				}
			}
			for key, value := range map[string]string{
				"HOME": t.TempDir(), "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "3",
				"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_STS": answering(t, test.refuses, test.silent).URL,
				roleVariable: "arn:aws:iam::111122223333:role/app", tokenVariable: file,
			} {
				if key != test.unset {
					t.Setenv(key, value)
				}
			}
			var stdout bytes.Buffer
			err := whoami(t.Context(), &stdout)
			if (err == nil) != (test.fails == nil) || stdout.String() != test.want {
				t.Fatalf("got %q and %v, want %q", stdout.String(), err, test.want)
			}
			for _, want := range test.fails {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), rawToken) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}
