package localsts_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestServer_unknownAction(t *testing.T) {
	d := newTestServer(t, nil)
	for name, test := range map[string]struct {
		form, contentType string
		status            int
		code              string
	}{
		"unknown action":               {"Action=GetFoo&Version=2011-06-15", "", 400, "InvalidAction"},
		"action of the other API":      {"Action=CreateRole&Version=2011-06-15", "", 400, "InvalidAction"},
		"unknown version":              {"Action=GetCallerIdentity&Version=2011-06-16", "", 400, "InvalidAction"},
		"no action":                    {"Version=2011-06-15", "", 400, "MissingAction"},
		"empty request":                {"", "", 400, "MissingAction"},
		"invalid form encoding":        {"Action=%zz", "", 404, "MalformedQueryString"},
		"wrong content type":           {"{}", "application/json", 404, "MalformedQueryString"},
		"character not allowed in XML": {"Action=%00&Version=2011-06-15", "", 404, "MalformedQueryString"},
		"not UTF-8":                    {"Action=%ff&Version=2011-06-15", "", 404, "MalformedQueryString"},
		"body too large":               {"Action=" + strings.Repeat("x", 600<<10), "", 413, "RequestEntityTooLarge"},
		"very long action":             {"Action=" + strings.Repeat("x", 500<<10) + "&Version=2011-06-15", "", 400, "InvalidAction"},
	} {
		t.Run(name, func(t *testing.T) {
			r := d.post(t, test.form)
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			got := d.do(t, r)
			if got.Status != test.status || got.Code != test.code || got.Type != "Sender" {
				t.Errorf("got %d %s %s, want %d %s", got.Status, got.Type, got.Code, test.status, test.code)
			}
			if len(got.Message) > 4000 {
				t.Errorf("got a message of %d characters, want at most 4000", len(got.Message))
			}
		})
	}
}

func TestServer_getRequest(t *testing.T) {
	d := newTestServer(t, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.server.URL+"/?"+whoForm, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.do(t, r); got.Code != "MissingAuthenticationToken" {
		t.Errorf("got %+v", got)
	}
	if got := d.do(t, signed(t, r, "", "sts", d.clock.Now())); got.Arn == "" {
		t.Errorf("got %+v", got)
	}
}

func TestServer_responseFormat(t *testing.T) {
	d := newTestServer(t, nil)
	d.createRole(t, "checkout", trust)
	for name, test := range map[string]struct{ form, service, want string }{
		"a result": {whoForm, "sts", `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
			`<Arn>arn:aws:iam::111122223333:user/local-sts-admin</Arn><UserId>AIDALOCALSTSADMIN0000</UserId><Account>111122223333</Account>` +
			`</GetCallerIdentityResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>`},
		"an empty list": {"Action=ListOpenIDConnectProviders&Version=2010-05-08", "iam", `<ListOpenIDConnectProvidersResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">` +
			`<ListOpenIDConnectProvidersResult><OpenIDConnectProviderList></OpenIDConnectProviderList></ListOpenIDConnectProvidersResult>` +
			`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></ListOpenIDConnectProvidersResponse>`},
		"no result": {"Action=DeleteRole&Version=2010-05-08&RoleName=checkout", "iam", `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">` +
			`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></DeleteRoleResponse>`},
		"an error": {"Action=GetRole&Version=2010-05-08&RoleName=missing", "iam", `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>` +
			`<Code>NoSuchEntity</Code><Message>The role with name missing cannot be found.</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := d.server.Client().Do(signed(t, d.post(t, test.form), test.form, test.service, d.clock.Now()))
			expectNone(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			expectNone(t, err)
			id := response.Header.Get("X-Amzn-Requestid")
			if id == "" || response.Header.Get("Content-Type") != "text/xml" {
				t.Errorf("got headers %v", response.Header)
			}
			expectText(t, "response", strings.Replace(string(body), id, "ID", 1), test.want)
		})
	}
}

func TestServer_healthz(t *testing.T) {
	d := newTestServer(t, nil)
	response, err := d.server.Client().Get(d.server.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
}
