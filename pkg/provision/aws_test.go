package provision_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

// fakeAWS returns the configuration of an AWS endpoint. respond returns the HTTP status and
// the body for the nth call of an action. The second result returns the number of calls of
// an action.
func fakeAWS(t *testing.T, respond func(action string, n int) (int, string)) (aws.Config, func(action string) int) {
	t.Helper()
	var mu sync.Mutex
	calls := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		action := r.FormValue("Action")
		calls[action]++
		status, body := respond(action, calls[action])
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	config := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "example", ""),
	}
	return config, func(action string) int {
		mu.Lock()
		defer mu.Unlock()
		return calls[action]
	}
}

func result(action, content string) string {
	return fmt.Sprintf("<%sResponse><%sResult>%s</%sResult></%sResponse>", action, action, content, action, action)
}

func failure(code, message string) string {
	return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error></ErrorResponse>"
}

func TestFindAccount_partition(t *testing.T) {
	for arn, want := range map[string]provision.Account{
		"arn:aws:iam::111122223333:user/me":                  {Partition: "aws", ID: "111122223333"},
		"arn:aws-cn:sts::111122223333:assumed-role/admin/me": {Partition: "aws-cn", ID: "111122223333"},
		"arn:aws-us-gov:iam::111122223333:root":              {Partition: "aws-us-gov", ID: "111122223333"},
		"nonsense":                                           {},
	} {
		config, _ := fakeAWS(t, func(action string, _ int) (int, string) {
			return 200, result(action, "<Arn>"+arn+"</Arn><Account>111122223333</Account>")
		})
		got, err := provision.FindAccount(t.Context(), sts.NewFromConfig(config))
		if got != want || (err == nil) != (want != provision.Account{}) {
			t.Errorf("%s: got %+v, %v, want %+v", arn, got, err, want)
		}
	}
}

func TestFindAccount_noCredentials(t *testing.T) {
	config, _ := fakeAWS(t, func(string, int) (int, string) {
		return 403, failure("InvalidClientTokenId", "The security token included in the request is invalid.")
	})
	_, err := provision.FindAccount(t.Context(), sts.NewFromConfig(config))
	const want = "get the AWS account: InvalidClientTokenId: The security token included in the request is invalid.; check the AWS credentials with: aws sts get-caller-identity"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestProviderARN_partitions(t *testing.T) {
	cluster := provision.Cluster{Issuer: issuer, Account: provision.Account{Partition: "aws-cn", ID: "111122223333"}}
	if got, want := cluster.ProviderARN(), "arn:aws-cn:iam::111122223333:oidc-provider/oidc.example.com/prod"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The first two calls of GetRole do not find the role. The first call of AttachRolePolicy
// does not find it either.
func TestCreateRole_eventualConsistency(t *testing.T) {
	const unknown = "The role with name prod.shop.cart cannot be found."
	config, calls := fakeAWS(t, func(action string, n int) (int, string) {
		switch {
		case action == "GetRole" && n <= 2, action == "AttachRolePolicy" && n == 1:
			return 404, failure("NoSuchEntity", unknown)
		case action == "GetOpenIDConnectProvider":
			return 404, failure("NoSuchEntity", "no provider")
		case action == "GetRole":
			return 200, result(action, "<Role><RoleName>prod.shop.cart</RoleName></Role>")
		default:
			return 200, result(action, "")
		}
	})
	w := newTestEnv(t)
	w.IAM = iam.NewFromConfig(config)
	spec := cart()
	spec.PolicyARNs = []string{readOnly}
	apply(t, w.identity(t, spec))
	if got := calls("GetRole"); got != 3 {
		t.Errorf("got %d calls of GetRole, want 3", got)
	}
	if got := calls("AttachRolePolicy"); got != 2 {
		t.Errorf("got %d calls of AttachRolePolicy, want 2", got)
	}
}

func TestAttachPolicies_policyNotFound(t *testing.T) {
	config, calls := fakeAWS(t, func(action string, n int) (int, string) {
		switch {
		case action == "GetRole" && n > 1:
			return 200, result(action, "<Role><RoleName>prod.shop.cart</RoleName></Role>")
		case action == "AttachRolePolicy":
			return 404, failure("NoSuchEntity", "Policy "+queue+" does not exist or is not attachable.")
		case strings.HasPrefix(action, "Get"):
			return 404, failure("NoSuchEntity", "none")
		default:
			return 200, result(action, "")
		}
	})
	w := newTestEnv(t)
	w.IAM = iam.NewFromConfig(config)
	plan, err := w.PlanIdentity(t.Context(), cart())
	if err != nil {
		t.Fatal(err)
	}
	err = plan.Apply(t.Context(), func(provision.Step) {})
	if err == nil || !strings.Contains(err.Error(), "does not exist or is not attachable") {
		t.Errorf("got %v", err)
	}
	if got := calls("AttachRolePolicy"); got != 1 {
		t.Errorf("got %d calls of AttachRolePolicy, want 1", got)
	}
}

// managedRole is the response of GetRole for the role of shop/cart.
const managedRole = `<Role><RoleName>prod.shop.cart</RoleName><Arn>` + cartRole + `</Arn><Tags>` +
	`<member><Key>kubectl-irsa/issuer</Key><Value>oidc.example.com/prod</Value></member>` +
	`<member><Key>kubectl-irsa/namespace</Key><Value>shop</Value></member>` +
	`<member><Key>kubectl-irsa/serviceaccount</Key><Value>cart</Value></member></Tags></Role>`

func TestDeleteRole_eventualConsistency(t *testing.T) {
	for name, test := range map[string]struct {
		conflict string
		calls    int
		fails    bool
	}{
		"an attached policy that IAM still sees": {"Cannot delete entity, must detach all policies first.", 2, false},
		"an instance profile":                    {"Cannot delete entity, must remove roles from instance profile first.", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			config, calls := fakeAWS(t, func(action string, n int) (int, string) {
				switch {
				case action == "DeleteRole" && n == 1:
					return 409, failure("DeleteConflict", test.conflict)
				case action == "GetRole":
					return 200, result(action, managedRole)
				default:
					return 200, result(action, "")
				}
			})
			w := newTestEnv(t)
			w.IAM = iam.NewFromConfig(config)
			plan, err := w.deletion(t)()
			if err != nil {
				t.Fatal(err)
			}
			err = plan.Apply(t.Context(), func(provision.Step) {})
			if (err != nil) != test.fails || (err != nil && !strings.Contains(err.Error(), test.conflict)) {
				t.Errorf("got %v, want failure %t", err, test.fails)
			}
			if got := calls("DeleteRole"); got != test.calls {
				t.Errorf("got %d calls of DeleteRole, want %d", got, test.calls)
			}
		})
	}
}
