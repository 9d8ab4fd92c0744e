// Package fakeiam runs local-sts as a fake IAM in the process of a test. Tests can record
// the calls that write, and make calls fail.
package fakeiam

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

const (
	// Account is the ID of the account. Its partition is aws.
	Account = "111122223333"

	adminKey    = "AKIALOCALSTSADMIN000" //nolint:gosec // valid only for local-sts
	adminSecret = "local-sts"
)

// IAM is a fake IAM with one account.
type IAM struct {
	server  *httptest.Server
	backend *localsts.Server

	mu     sync.Mutex
	fail   func(operation string) error
	writes []string
}

// New starts a fake IAM. Its account has only the given customer managed policies. It stops
// at the end of the test.
func New(t testing.TB, policies ...string) *IAM {
	t.Helper()
	backend, err := localsts.New(localsts.Options{
		AccountID: Account, AdminAccessKeyID: adminKey, AdminSecretAccessKey: adminSecret, PolicyARNs: policies,
	})
	if err != nil {
		t.Fatal(err)
	}
	i := &IAM{backend: backend}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	return i
}

// Client returns a client with the administrator's credentials.
func (i *IAM) Client() *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(i.server.URL),
		Credentials: credentials.NewStaticCredentialsProvider(adminKey, adminSecret, ""),
	})
}

// Fail calls fail before each operation, which fails with the error that fail returns. With
// nil, operations succeed again.
func (i *IAM) Fail(fail func(operation string) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// Writes returns the names of the operations that wrote since the last call of Writes, in
// order.
func (i *IAM) Writes() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	writes := i.writes
	i.writes = nil
	return writes
}

// Denied returns the error of IAM for a caller without permission for the operation.
func Denied(operation string) error {
	return &smithy.GenericAPIError{
		Code: "AccessDenied", Message: "User: arn:aws:iam::" + Account + ":user/me is not authorized to perform: iam:" + operation,
	}
}

// Changes reports whether an operation writes.
func Changes(operation string) bool {
	return !strings.HasPrefix(operation, "Get") && !strings.HasPrefix(operation, "List")
}

func (i *IAM) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := i.record(form.Get("Action")); err != nil {
		writeError(w, err)
		return
	}
	i.backend.ServeHTTP(w, r)
}

// record records an operation that writes. It returns the error that the function of Fail
// returns.
func (i *IAM) record(operation string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail != nil {
		if err := i.fail(operation); err != nil {
			return err
		}
	}
	if Changes(operation) {
		i.writes = append(i.writes, operation)
	}
	return nil
}

// writeError writes err as an error response of the query API.
func writeError(w http.ResponseWriter, err error) {
	type errorElement struct {
		Type, Code, Message string
	}
	response := struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Error   errorElement
	}{Error: errorElement{Type: "Sender", Code: "Cut", Message: err.Error()}}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		response.Error.Code, response.Error.Message = api.ErrorCode(), api.ErrorMessage()
	}
	w.WriteHeader(http.StatusForbidden)
	_ = xml.NewEncoder(w).Encode(response)
}
