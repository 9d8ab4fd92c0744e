// Package fakeiam gives tests an IAM that is local-sts, in this process, and a
// wire to it that can be watched and cut.
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
	// Account is the account's id; its partition is aws.
	Account = "111122223333"

	adminKey    = "AKIALOCALSTSADMIN000" //nolint:gosec // opens nothing but local-sts
	adminSecret = "local-sts"
)

// IAM is an account.
type IAM struct {
	server *httptest.Server
	behind *localsts.Server

	mu     sync.Mutex
	fail   func(operation string) error
	writes []string
}

// New returns an account that has these policies of its own, and nothing else.
// It ends with the test.
func New(t testing.TB, policies ...string) *IAM {
	t.Helper()
	behind, err := localsts.New(localsts.Options{
		AccountID: Account, AdminAccessKeyID: adminKey, AdminSecretAccessKey: adminSecret, PolicyARNs: policies,
	})
	if err != nil {
		t.Fatal(err)
	}
	i := &IAM{behind: behind}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	return i
}

// Client returns the administrator's client.
func (i *IAM) Client() *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(i.server.URL),
		Credentials: credentials.NewStaticCredentialsProvider(adminKey, adminSecret, ""),
	})
}

// Fail asks fail before each call, which may refuse it; nil ends that.
func (i *IAM) Fail(fail func(operation string) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// Writes returns the names of the operations since it was asked last that change
// something, in order.
func (i *IAM) Writes() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	writes := i.writes
	i.writes = nil
	return writes
}

// Denied is what IAM says to who may not.
func Denied(operation string) error {
	return &smithy.GenericAPIError{
		Code: "AccessDenied", Message: "User: arn:aws:iam::" + Account + ":user/me is not authorized to perform: iam:" + operation,
	}
}

// Changes says whether an operation does.
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
	if err := i.pass(form.Get("Action")); err != nil {
		refuse(w, err)
		return
	}
	i.behind.ServeHTTP(w, r)
}

func (i *IAM) pass(operation string) error {
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

// refuse answers with an error in the shape of the query API.
func refuse(w http.ResponseWriter, err error) {
	type described struct {
		Type, Code, Message string
	}
	said := struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Error   described
	}{Error: described{Type: "Sender", Code: "Cut", Message: err.Error()}}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		said.Error.Code, said.Error.Message = api.ErrorCode(), api.ErrorMessage()
	}
	w.WriteHeader(http.StatusForbidden)
	_ = xml.NewEncoder(w).Encode(said)
}
