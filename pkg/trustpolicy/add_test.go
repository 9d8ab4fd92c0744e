package trustpolicy_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

var cartGrant = trustpolicy.Grant{Provider: unknownProvider, Subjects: []trustpolicy.Subject{{Namespace: "shop", ServiceAccount: "cart"}}}

// Add keeps every statement, whatever its form, and adds one that allows the grant.
func TestAdd(t *testing.T) {
	front := strings.ReplaceAll(allowed(""), "shop:cart", "web:front")
	for name, document := range map[string]string{
		"another subject":          `{"Version":"2012-10-17","Statement":[` + front + `]}`,
		"one statement, no list":   `{"Version":"2012-10-17","Id":"x","Statement":` + front + `}`,
		"statement before version": `{"Statement":[` + front + `],"Version":"2012-10-17"}`,
		"the older version":        `{"Version":"2008-10-17","Statement":[` + front + `]}`,
		"no version":               `{"Statement":[` + front + `]}`,
		"a Deny guard":             `{"Version":"2012-10-17","Statement":[` + front + `,{"Sid":"Guard","Effect":"Deny","Principal":{"AWS":["*"]},"Action":["sts:AssumeRole"],"Condition":{"Bool":{"aws:SecureTransport":false}}}]}`,
		"lists and numbers":        `{"Version":"2012-10-17","Statement":[{"Sid":"","Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com"]},"Action":["sts:AssumeRole"],"Condition":{"NumericLessThan":{"aws:MultiFactorAuthAge":[3600]}}}]}`,
		"a character for HTML":     `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringLike":{"aws:UserAgent":"<a> & b"}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			policy, written, err := trustpolicy.Add([]byte(document), cartGrant)
			if err != nil {
				t.Fatal(err)
			}
			if !policy.Evaluate(offline("")).Allowed {
				t.Errorf("got a policy that does not allow the grant: %s", written)
			}
			before, after := decode(t, []byte(document)), decode(t, written)
			kept := statements(before)
			got := statements(after)
			if len(got) != len(kept)+1 || !reflect.DeepEqual(got[:len(kept)], kept) {
				t.Errorf("got statements %v, want %v and one more", got, kept)
			}
			for _, element := range []string{"Version", "Id"} {
				if before[element] != after[element] {
					t.Errorf("got %s %v, want %v", element, after[element], before[element])
				}
			}
			if bytes.Contains(written, []byte(`\u00`)) {
				t.Errorf("got escaped characters in %s", written)
			}
		})
	}
}

func decode(t *testing.T, document []byte) map[string]any {
	t.Helper()
	var decoded map[string]any
	if err := json.Unmarshal(document, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func statements(document map[string]any) []any {
	if list, ok := document["Statement"].([]any); ok {
		return list
	}
	return []any{document["Statement"]}
}

func TestAdd_errors(t *testing.T) {
	if _, _, err := trustpolicy.Add([]byte(`{"Statement":[]}`), cartGrant); err == nil {
		t.Error("got no error for a policy without statements")
	}
	valid := `{"Version":"2012-10-17","Statement":[` + allowed("") + `]}`
	if _, _, err := trustpolicy.Add([]byte(valid), trustpolicy.Grant{Provider: "x"}); err == nil {
		t.Error("got no error for an invalid provider")
	}
	long := `{"Version":"2012-10-17","Statement":[` + allowed("") + strings.Repeat(","+allowed(""), 20) + `]}`
	if _, _, err := trustpolicy.Add([]byte(long), cartGrant); err == nil || !strings.Contains(err.Error(), "4096") {
		t.Errorf("got %v for a policy that is too long, want an error with the limit", err)
	}
}

func TestExtract(t *testing.T) {
	const policy = `{"Version":"2012-10-17","Statement":[]}`
	encoded := url.PathEscape(policy)
	quoted, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	var little []byte
	for _, unit := range utf16.Encode([]rune("\uFEFF" + policy)) {
		little = append(little, byte(unit), byte(unit>>8))
	}
	for name, input := range map[string]string{
		"the policy":                      policy,
		"with spaces around it":           "\n " + policy + "\n",
		"with a byte order mark":          "\uFEFF" + policy,
		"in UTF-16":                       string(little),
		"URL-encoded":                     encoded,
		"URL-encoded, quoted":             `"` + encoded + `"`,
		"in a string":                     string(quoted),
		"get-role":                        `{"Role":{"RoleName":"cart","AssumeRolePolicyDocument":` + policy + `}}`,
		"get-role, byte order mark":       "\uFEFF" + `{"Role":{"AssumeRolePolicyDocument":` + policy + `}}`,
		"get-role, URL-encoded":           `{"Role":{"AssumeRolePolicyDocument":"` + encoded + `"}}`,
		"get-role --query Role":           `{"RoleName":"cart","AssumeRolePolicyDocument":` + policy + `}`,
		"get-role --query Role, a string": `{"AssumeRolePolicyDocument":` + string(quoted) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := trustpolicy.Extract([]byte(input)); err != nil || string(got) != policy {
				t.Errorf("got %s (%v)", got, err)
			}
		})
	}
	for name, input := range map[string]string{"empty": "", "only a byte order mark": "\uFEFF", "invalid encoding": "%7B%zz"} {
		if got, err := trustpolicy.Extract([]byte(input)); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}
