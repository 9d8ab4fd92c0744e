package trustpolicy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

func TestValidate(t *testing.T) {
	const federated, invalid = "Federated principals must be valid domain names or SAML metadata ARNs", "Invalid principal in policy: "
	for name, test := range map[string]struct {
		sid, principal string
		// want is the message of IAM, or empty.
		want string
	}{
		"a provider":                  {"", `{"Federated":"` + unknownProvider + `"}`, ""},
		"a provider with a path":      {"", `{"Federated":"arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E"}`, ""},
		"a provider in China":         {"", `{"Federated":"arn:aws-cn:iam::111122223333:oidc-provider/oidc.example.com"}`, ""},
		"a SAML provider":             {"", `{"Federated":"arn:aws:iam::111122223333:saml-provider/corp"}`, ""},
		"a built-in provider":         {"", `{"Federated":"cognito-identity.amazonaws.com"}`, ""},
		"two providers, one invalid":  {"", `{"Federated":["accounts.google.com","x"]}`, federated},
		"the URL of a provider":       {"", `{"Federated":"https://oidc.example.com"}`, federated},
		"an issuer with a path":       {"", `{"Federated":"oidc.example.com/id"}`, federated},
		"an empty provider":           {"", `{"Federated":""}`, federated},
		"no ARN":                      {"", `{"Federated":"oidc-provider"}`, federated},
		"the ARN of a role":           {"", `{"Federated":"arn:aws:iam::111122223333:role/x"}`, federated},
		"a provider without account":  {"", `{"Federated":"arn:aws:iam:::oidc-provider/oidc.example.com"}`, federated},
		"a wildcard provider":         {"", `{"Federated":"*"}`, federated},
		"everyone":                    {"", `"*"`, ""},
		"everyone of AWS":             {"", `{"AWS":"*"}`, ""},
		"an account":                  {"", `{"AWS":["111122223333","arn:aws:iam::111122223333:root"]}`, ""},
		"a role with a path":          {"", `{"AWS":"arn:aws:iam::111122223333:role/team/cart"}`, ""},
		"a session":                   {"", `{"AWS":"arn:aws:sts::111122223333:assumed-role/cart/pod"}`, ""},
		"a deleted role":              {"", `{"AWS":"AROAEXAMPLE1234567890"}`, ""},
		"a name":                      {"", `{"AWS":"cart"}`, invalid + `"AWS":"cart"`},
		"a wildcard in an ARN":        {"", `{"AWS":"arn:aws:iam::111122223333:role/*"}`, invalid},
		"an empty AWS principal":      {"", `{"AWS":""}`, invalid},
		"a provider as AWS principal": {"", `{"AWS":"` + unknownProvider + `"}`, invalid},
		"a service":                   {"", `{"Service":"ec2.amazonaws.com"}`, ""},
		"a service of EKS":            {"", `{"Service":"pods.eks.amazonaws.com"}`, ""},
		"a service that is a URL":     {"", `{"Service":"https://ec2.amazonaws.com"}`, invalid},
		"a Sid":                       {"AllowCart1", `"*"`, ""},
		"a Sid with a space":          {"Allow cart", `"*"`, "Statement IDs (SID) must be alpha-numeric"},
		"a Sid with a hyphen":         {"allow-cart", `"*"`, "Statement IDs (SID) must be alpha-numeric"},
		"a Sid in another script":     {"Erlaubt\u00e4", `"*"`, "Statement IDs (SID) must be alpha-numeric"},
		"a Sid with an underscore":    {"allow_cart", `"*"`, "Statement IDs (SID) must be alpha-numeric"},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := trustpolicy.Parse(fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":[{"Sid":%q,"Effect":"Allow","Principal":%s,"Action":"sts:AssumeRoleWithWebIdentity"}]}`, test.sid, test.principal))
			if err != nil {
				t.Fatal(err)
			}
			err = policy.Validate()
			if test.want == "" {
				if err != nil {
					t.Errorf("got %v, want a valid policy", err)
				}
				return
			}
			malformed, ok := errors.AsType[*trustpolicy.MalformedError](err)
			if !ok || !strings.HasPrefix(malformed.Message, test.want) || malformed.Detail == "" {
				t.Errorf("got %v, want %s and the statement", err, test.want)
			}
		})
	}
}
