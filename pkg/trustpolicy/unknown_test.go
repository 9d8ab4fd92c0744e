package trustpolicy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

const unknownProvider = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"

// offline is the request of shop/cart without the call that sends it.
func offline(sessionName string) trustpolicy.Request {
	claims := token.Claims{Subject: "system:serviceaccount:shop:cart", Audience: []string{"sts.amazonaws.com"}}
	return trustpolicy.ForToken(unknownProvider, claims, sessionName).At(time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC))
}

// allowed returns an Allow statement for shop/cart with more conditions.
func allowed(more string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{`+
		`"StringEquals":{"oidc.example.com:aud":"sts.amazonaws.com","oidc.example.com:sub":"system:serviceaccount:shop:cart"}%s}}`, unknownProvider, more)
}

// perimeter is the Deny statement of a data perimeter, as AWS publishes it.
const perimeter = `{"Sid":"EnforceNetworkPerimeter","Effect":"Deny","Principal":{"AWS":"*"},"Action":["sts:AssumeRole","sts:AssumeRoleWithWebIdentity"],"Condition":{` +
	`"NotIpAddressIfExists":{"aws:SourceIp":["203.0.113.0/24"]},"StringNotEqualsIfExists":{"aws:SourceVpc":["vpc-111"]},"BoolIfExists":{"aws:ViaAWSService":"false"}}}`

func TestEvaluate_keysOfTheCall(t *testing.T) {
	const (
		isAllowed = "allowed"
		isDenied  = "not allowed"
	)
	other := strings.ReplaceAll(allowed(""), "shop:cart", "web:front")
	for name, test := range map[string]struct {
		statements string
		session    string
		// want is allowed, not allowed, or the unknown keys.
		want string
	}{
		"SourceVpc":                         {allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1"}`), "", "aws:SourceVpc"},
		"SourceIp":                          {allowed(`,"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), "", "aws:SourceIp"},
		"not SourceIp":                      {allowed(`,"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), "", "aws:SourceIp"},
		"IfExists":                          {allowed(`,"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}`), "", "aws:SourceVpce"},
		"Null":                              {allowed(`,"Null":{"aws:SourceVpc":"false"}`), "", "aws:SourceVpc"},
		"two keys":                          {allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1","aws:RequestedRegion":"eu-*"}`), "", "aws:RequestedRegion,aws:SourceVpc"},
		"another case":                      {allowed(`,"StringLike":{"AWS:sourcevpc":"vpc-1"}`), "", "AWS:sourcevpc"},
		"a variable":                        {allowed(`,"StringLike":{"oidc.example.com:aud":"${aws:UserAgent}"}`), "", "aws:UserAgent"},
		"session name":                      {allowed(`,"StringLike":{"sts:RoleSessionName":"cart-*"}`), "", "sts:RoleSessionName"},
		"known session name":                {allowed(`,"StringLike":{"sts:RoleSessionName":"cart-*"}`), "cart-1", isAllowed},
		"another session name":              {allowed(`,"StringLike":{"sts:RoleSessionName":"cart-*"}`), "web-1", isDenied},
		"a key of STS that tokens lack":     {allowed(`,"StringLike":{"sts:ExternalId":"x"}`), "", isDenied},
		"a claim that AWS does not provide": {allowed(`,"StringLike":{"oidc.example.com:email":"x"}`), "", isDenied},
		"the clock, before":                 {allowed(`,"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}`), "", isAllowed},
		"the clock, after":                  {allowed(`,"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`), "", isDenied},
		"the clock in seconds":              {allowed(`,"NumericGreaterThan":{"aws:EpochTime":"1000000000"}`), "", isAllowed},
		"another subject, unknown key":      {strings.ReplaceAll(allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1"}`), "shop:cart", "web:front"), "", isDenied},
		"data perimeter":                    {allowed("") + "," + perimeter, "", "aws:SourceIp,aws:SourceVpc,aws:ViaAWSService"},
		"data perimeter, no Allow":          {other + "," + perimeter, "", isDenied},
		"an Allow without the unknown key":  {allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1"}`) + "," + allowed(""), "", isAllowed},
		"Deny of another action":            {allowed("") + `,{"Effect":"Deny","Principal":"*","Action":"sts:TagSession","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`, "", isAllowed},
		"Deny without conditions":           {allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1"}`) + `,{"Effect":"Deny","Principal":"*","Action":"sts:*"}`, "", isDenied},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := trustpolicy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + test.statements + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			decision := policy.Evaluate(offline(test.session))
			got := isDenied
			switch {
			case decision.Allowed:
				got = isAllowed
			case decision.Unknown:
				got = strings.Join(decision.UnknownKeys(), ",")
			}
			if got != test.want {
				t.Errorf("got %s, want %s: %q", got, test.want, decision.Explain())
			}
			if reasons := decision.Explain(); decision.Allowed != (len(reasons) == 0) {
				t.Errorf("got allowed %t and reasons %q", decision.Allowed, reasons)
			}
			// The key sets decide the same as before if the call is known.
			full := offline(test.session)
			full.Partial = false
			if decision := policy.Evaluate(full); decision.Unknown || decision.UnknownKeys() != nil {
				t.Errorf("got an unknown decision of a call whose keys are all known: %q", decision.Explain())
			}
		})
	}
}

func TestExplain_unknownKeys(t *testing.T) {
	policy, err := trustpolicy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + allowed(`,"StringLike":{"aws:SourceVpc":"vpc-1"}`) + "," + perimeter + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"statement 1 allows the request only if its conditions on aws:SourceVpc are true; only the real call has a value",
		"statement 2 (EnforceNetworkPerimeter) denies the request only if its conditions on aws:SourceIp, aws:SourceVpc, aws:ViaAWSService are true; only the real call has a value",
	}
	if got := policy.Evaluate(offline("")).Explain(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Conditions on other keys than sub and aud only restrict more.
func TestWarnings_otherKeys(t *testing.T) {
	policy, err := trustpolicy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` +
		allowed(`,"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"},"ForAllValues:StringLike":{"aws:TagKeys":"a*"}`) + "," + perimeter + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if warnings := policy.Warnings(); len(warnings) > 0 {
		t.Errorf("got warnings %q, want none", warnings)
	}
}
