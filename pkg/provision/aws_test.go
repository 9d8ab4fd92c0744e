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

// answering returns a configuration for an AWS that answers an action by what
// answers says, and tells how often each was asked.
func answering(t *testing.T, answer func(action string, times int) (int, string)) (aws.Config, func(action string) int) {
	t.Helper()
	var mu sync.Mutex
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		action := r.FormValue("Action")
		asked[action]++
		status, body := answer(action, asked[action])
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
		return asked[action]
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
		config, _ := answering(t, func(action string, _ int) (int, string) {
			return 200, result(action, "<Arn>"+arn+"</Arn><Account>111122223333</Account>")
		})
		got, err := provision.FindAccount(t.Context(), sts.NewFromConfig(config))
		if got != want || (err == nil) != (want != provision.Account{}) {
			t.Errorf("%s: got %+v, %v", arn, got, err)
		}
	}
}

func TestFindAccount_noCredentials(t *testing.T) {
	config, _ := answering(t, func(string, int) (int, string) {
		return 403, failure("InvalidClientTokenId", "The security token included in the request is invalid.")
	})
	_, err := provision.FindAccount(t.Context(), sts.NewFromConfig(config))
	const want = "find the AWS account: InvalidClientTokenId: The security token included in the request is invalid.: check the AWS credentials by aws sts get-caller-identity"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestProviderARN_partitions(t *testing.T) {
	cluster := provision.Cluster{Issuer: issuer, Account: provision.Account{Partition: "aws-cn", ID: "111122223333"}}
	if got, want := cluster.ProviderARN(), "arn:aws-cn:iam::111122223333:oidc-provider/oidc.example.com/prod"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An IAM that needs time: GetRole does not know the role at first, twice, and
// when it does, AttachRolePolicy is answered by a machine that still does not.
func TestCreateRole_eventualConsistency(t *testing.T) {
	const unknown = "The role with name prod.shop.cart cannot be found."
	config, asked := answering(t, func(action string, times int) (int, string) {
		switch {
		case action == "GetRole" && times <= 2, action == "AttachRolePolicy" && times == 1:
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
	if got := asked("GetRole"); got != 3 {
		t.Errorf("GetRole was asked %d times", got)
	}
	if got := asked("AttachRolePolicy"); got != 2 {
		t.Errorf("AttachRolePolicy was asked %d times", got)
	}
}

func TestAttachPolicies_policyNotFound(t *testing.T) {
	config, asked := answering(t, func(action string, times int) (int, string) {
		switch {
		case action == "GetRole" && times > 1:
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
	if got := asked("AttachRolePolicy"); got != 1 {
		t.Errorf("AttachRolePolicy was asked %d times", got)
	}
}

// The role as GetRole shows it once it is made for shop/cart.
const madeForCart = `<Role><RoleName>prod.shop.cart</RoleName><Arn>` + cartRole + `</Arn><Tags>` +
	`<member><Key>kubectl-irsa/issuer</Key><Value>oidc.example.com/prod</Value></member>` +
	`<member><Key>kubectl-irsa/namespace</Key><Value>shop</Value></member>` +
	`<member><Key>kubectl-irsa/serviceaccount</Key><Value>cart</Value></member></Tags></Role>`

func TestDeleteRole_eventualConsistency(t *testing.T) {
	for name, test := range map[string]struct {
		conflict string
		times    int
		fails    bool
	}{
		"a policy that IAM still sees": {"Cannot delete entity, must detach all policies first.", 2, false},
		"an instance profile":          {"Cannot delete entity, must remove roles from instance profile first.", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			config, asked := answering(t, func(action string, times int) (int, string) {
				switch {
				case action == "DeleteRole" && times == 1:
					return 409, failure("DeleteConflict", test.conflict)
				case action == "GetRole":
					return 200, result(action, madeForCart)
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
				t.Errorf("got %v", err)
			}
			if got := asked("DeleteRole"); got != test.times {
				t.Errorf("DeleteRole was asked %d times", got)
			}
		})
	}
}
