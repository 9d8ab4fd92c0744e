package localsts

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzRequest checks that the response to any unauthenticated request is valid XML and an
// error of the caller, never of the server.
func FuzzRequest(f *testing.F) {
	const form = "application/x-www-form-urlencoded"
	f.Add("", form, "", "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::111122223333:role/checkout&RoleSessionName=one&WebIdentityToken=a.b.c&PolicyArns.member.1.arn=x")
	f.Add("Action=GetCallerIdentity&Version=2011-06-15", "", "AWS4-HMAC-SHA256 Credential=AKIALOCALSTSADMIN000/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=00", "")
	f.Add("Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/aws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "", "", "")
	f.Add("", form, "", "Action=CreateRole&Version=2010-05-08&Tags.member.1.Key=a&Tags.member.1.Value=b")
	f.Add("Action=<&Version=\x01", form, "x", "%")
	s, err := New(Options{AccountID: "111122223333", AdminAccessKeyID: "AKIALOCALSTSADMIN000", AdminSecretAccessKey: "secret"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, contentType, authorization, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
			r.Header.Set("X-Amz-Date", "20260101T000000Z")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code < 400 || w.Code >= 500 {
			t.Errorf("got status %d, want 4xx: %s", w.Code, w.Body)
		}
		var read errorResponse
		if err := xml.Unmarshal(w.Body.Bytes(), &read); err != nil || read.Code == "" || read.RequestID == "" {
			t.Errorf("%v in %s", err, w.Body)
		}
	})
}

// FuzzParameters calls the operations of IAM as the administrator with any parameters. It
// checks that all errors are errors of the caller, and that the state stays valid.
func FuzzParameters(f *testing.F) {
	for action := range operations {
		_, name, _ := strings.Cut(action, ":")
		f.Add(name, "RoleName=checkout&PolicyName=x&PolicyArn=arn:aws:iam::aws:policy/ReadOnlyAccess&TagKeys.member.1=a&Url=https://oidc.example.com&MaxItems=1&Marker=YQ")
	}
	f.Fuzz(func(t *testing.T, action, form string) {
		s, err := New(Options{AccountID: "111122223333", AdminAccessKeyID: "AKIALOCALSTSADMIN000", AdminSecretAccessKey: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		request, err := parseQuery(form, "", nil)
		if err != nil {
			return
		}
		operation, known := operations["iam:"+action]
		if !known {
			return
		}
		before := s.store.view()
		result, err := operation.run(s, &call{ctx: t.Context(), parameters: parameters{values: request.values}, logger: s.options.Logger})
		if _, ok := errors.AsType[*apiError](err); err != nil && !ok {
			t.Fatalf("got a server error: %v", err)
		}
		if err != nil {
			if s.store.view() != before {
				t.Error("failed call changed the state")
			}
			return
		}
		content, err := encodeResult("x", action, result, "id")
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.NewDecoder(bytes.NewReader(content)).Decode(&struct{}{}); err != nil {
			t.Errorf("%v in %s", err, content)
		}
		written, err := s.store.view().encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseAccount(written); err != nil {
			t.Errorf("cannot read the written state: %v", err)
		}
	})
}

// FuzzStateFile opens any file. If openStore returns an error, it must not change the file.
// Otherwise the state must stay the same when it is written and read again.
func FuzzStateFile(f *testing.F) {
	valid, err := newAccount("111122223333").encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add([]byte(strings.Replace(string(valid), `"roles": {}`, `"roles": {"a": {"name": "a", "path": "/", "id": "AROA", "assumeRolePolicyDocument":
		"{\"Statement\": {\"Effect\": \"Allow\", \"Principal\": {\"Federated\": \"x\"}, \"Action\": \"sts:AssumeRoleWithWebIdentity\"}}"}}`, 1)))
	f.Add([]byte("{}"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := openStore(file, "111122223333")
		if err != nil {
			left, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(left, content) {
				t.Errorf("rejected file was changed: %v", err)
			}
			return
		}
		if err := opened.update(func(*account) error { return nil }); err != nil {
			t.Fatal(err)
		}
		again, err := openStore(file, "111122223333")
		if err != nil {
			t.Fatal(err)
		}
		if first, second := encoded(t, opened.view()), encoded(t, again.view()); !reflect.DeepEqual(first, second) {
			t.Errorf("got after reopening\n%s\nwant\n%s", second, first)
		}
	})
}

func encoded(t *testing.T, a *account) string {
	t.Helper()
	content, err := a.encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
