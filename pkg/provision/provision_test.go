package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision/fakeiam"
)

const (
	issuer     = "https://oidc.example.com/prod"
	readOnly   = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	queue      = "arn:aws:iam::111122223333:policy/queue"
	annotation = "eks.amazonaws.com/role-arn"
	cartRole   = "arn:aws:iam::111122223333:role/prod.shop.cart"
)

// testEnv is a cluster and an account in memory.
type testEnv struct {
	*provision.Cluster
	iam        *fakeiam.IAM
	kubernetes *fake.Clientset
}

func newTestEnv(t *testing.T, objects ...runtime.Object) *testEnv {
	t.Helper()
	account := fakeiam.New(t, queue)
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	client := fake.NewClientset(objects...)
	return &testEnv{iam: account, kubernetes: client, Cluster: &provision.Cluster{
		Issuer: issuer, Name: provision.ClusterName(issuer), Account: provision.Account{Partition: "aws", ID: "111122223333"},
		IAM: account.Client(), Client: client, AnnotationPrefix: "eks.amazonaws.com",
	}}
}

func cart() provision.IdentitySpec {
	return provision.IdentitySpec{Namespace: "shop", Name: "cart", PolicyARNs: []string{readOnly, queue}}
}

func serviceAccount(name string, annotations ...string) *corev1.ServiceAccount {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: map[string]string{}}}
	for _, pair := range annotations {
		key, value, _ := strings.Cut(pair, "=")
		account.Annotations[key] = value
	}
	return account
}

// apply applies the plan that newPlan returns.
func apply(t *testing.T, newPlan func() (*provision.Plan, error)) *provision.Plan {
	t.Helper()
	plan, err := newPlan()
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context(), func(provision.Step) {}); err != nil {
		t.Fatal(err)
	}
	return plan
}

func (w *testEnv) identity(t *testing.T, spec provision.IdentitySpec) func() (*provision.Plan, error) {
	return func() (*provision.Plan, error) { return w.PlanIdentity(t.Context(), spec) }
}

func (w *testEnv) provider(t *testing.T, spec provision.ProviderSpec) func() (*provision.Plan, error) {
	return func() (*provision.Plan, error) { return w.PlanProvider(t.Context(), spec) }
}

func (w *testEnv) deletion(t *testing.T) func() (*provision.Plan, error) {
	return func() (*provision.Plan, error) {
		return w.PlanIdentityDeletion(t.Context(), provision.DeletionSpec{Namespace: "shop", Name: "cart"})
	}
}

// trustPolicyFor returns a trust policy that kubectl irsa does not write.
func trustPolicyFor(provider string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + provider + `"},"Action":"sts:AssumeRoleWithWebIdentity"}]}`
}

const (
	clusterProvider = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/prod"
	otherProvider   = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/theirs"
)

// unmanagedRole creates a role without the tags of kubectl irsa.
func (w *testEnv) unmanagedRole(t *testing.T, name, provider string, tags ...types.Tag) {
	t.Helper()
	trust := trustPolicyFor(provider)
	_, err := w.IAM.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	w.iam.Writes()
}

func (w *testEnv) cart(t *testing.T) *corev1.ServiceAccount {
	t.Helper()
	found, err := w.kubernetes.CoreV1().ServiceAccounts("shop").Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// state returns all roles and ServiceAccounts as JSON, to compare two states.
func (w *testEnv) state(t *testing.T) string {
	t.Helper()
	roles, err := w.IAM.ListRoles(t.Context(), &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(roles.Roles, func(a, b types.Role) int { return strings.Compare(*a.RoleName, *b.RoleName) })
	var all []any
	for _, role := range roles.Roles {
		full, err := w.IAM.GetRole(t.Context(), &iam.GetRoleInput{RoleName: role.RoleName})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(full.Role.Tags, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
		attached, err := w.IAM.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: role.RoleName})
		if err != nil {
			t.Fatal(err)
		}
		full.Role.RoleId, full.Role.CreateDate = nil, nil
		all = append(all, full.Role, attached.AttachedPolicies)
	}
	accounts, err := w.kubernetes.CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range accounts.Items {
		accounts.Items[i].ManagedFields = nil
	}
	encoded, err := json.MarshalIndent(append(all, accounts.Items), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// failAfter makes every write fail after the given number of writes.
func (w *testEnv) failAfter(writes int) {
	done := 0
	write := func(operation string) error {
		if done == writes {
			return fmt.Errorf("connection closed at %s", operation)
		}
		done++
		return nil
	}
	w.iam.Fail(func(operation string) error {
		if !fakeiam.Changes(operation) {
			return nil
		}
		return write(operation)
	})
	for _, verb := range []string{"create", "patch", "delete"} {
		w.kubernetes.PrependReactor(verb, "serviceaccounts", func(kubetesting.Action) (bool, runtime.Object, error) {
			err := write(verb)
			return err != nil, nil, err
		})
	}
}

// fix makes writes succeed again after failAfter.
func (w *testEnv) fix() {
	w.iam.Fail(nil)
	w.kubernetes.ReactionChain = w.kubernetes.ReactionChain[3:]
}

func TestPlanIdentity_order(t *testing.T) {
	w := newTestEnv(t)
	spec := cart()
	spec.Boundary, spec.Tags = queue, map[string]string{"team": "shop"}
	plan := apply(t, w.identity(t, spec))
	var steps []string
	for _, step := range plan.Steps {
		steps = append(steps, step.String()+": "+string(step.State))
	}
	want := []string{
		"create role " + cartRole + ": done",
		"create policy attachment " + readOnly + ": done",
		"create policy attachment " + queue + ": done",
		"create ServiceAccount shop/cart: done",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
	if got := w.cart(t).Annotations; !maps.Equal(got, map[string]string{annotation: cartRole}) {
		t.Errorf("got annotations %v", got)
	}
	role, err := w.IAM.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("prod.shop.cart")})
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]string{}
	for _, tag := range role.Role.Tags {
		tags[*tag.Key] = *tag.Value
	}
	wantTags := map[string]string{
		"kubectl-irsa/issuer": "oidc.example.com/prod", "kubectl-irsa/namespace": "shop", "kubectl-irsa/serviceaccount": "cart", "team": "shop",
	}
	if !maps.Equal(tags, wantTags) {
		t.Errorf("got tags %v, want %v", tags, wantTags)
	}
	if got := *role.Role.PermissionsBoundary.PermissionsBoundaryArn; got != queue {
		t.Errorf("got boundary %s, want %s", got, queue)
	}
}

func TestPlanIdentity_idempotent(t *testing.T) {
	w := newTestEnv(t)
	for name, newPlan := range map[string]func() (*provision.Plan, error){
		"a role":     w.identity(t, cart()),
		"a provider": w.provider(t, provision.ProviderSpec{Audiences: []string{provision.DefaultAudience}, Tags: map[string]string{"team": "shop"}}),
	} {
		t.Run(name, func(t *testing.T) {
			if first := apply(t, newPlan); len(first.Steps) == 0 {
				t.Fatal("got an empty plan")
			}
			w.iam.Writes()
			second, err := newPlan()
			if err != nil {
				t.Fatal(err)
			}
			if second.Changes() != 0 {
				t.Errorf("got %+v, want no changes", second.Steps)
			}
			if err := second.Apply(t.Context(), func(step provision.Step) { t.Errorf("got step %s, want none", step) }); err != nil {
				t.Error(err)
			}
			if writes := w.iam.Writes(); len(writes) != 0 {
				t.Errorf("got writes %q, want none", writes)
			}
		})
	}
}

func TestPlanIdentity_resumesAfterFailure(t *testing.T) {
	complete := newTestEnv(t)
	apply(t, complete.identity(t, cart()))
	for writes := range 4 {
		t.Run(fmt.Sprintf("creation after %d writes", writes), func(t *testing.T) {
			w := newTestEnv(t)
			w.failAfter(writes)
			plan, err := w.PlanIdentity(t.Context(), cart())
			if err != nil {
				t.Fatal(err)
			}
			if err := plan.Apply(t.Context(), func(provision.Step) {}); err == nil || !strings.Contains(err.Error(), "run the command again") {
				t.Fatalf("got %v", err)
			}
			if got := plan.Steps[writes].State; got != provision.Failed {
				t.Errorf("step %d: got state %s, want failed", writes, got)
			}
			w.fix()
			next := apply(t, w.identity(t, cart()))
			if done := countDone(next); done != 4-writes {
				t.Errorf("next run: got %d steps, want %d", done, 4-writes)
			}
			if got, want := w.state(t), complete.state(t); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
		t.Run(fmt.Sprintf("deletion after %d writes", writes), func(t *testing.T) {
			w, empty := newTestEnv(t), newTestEnv(t)
			apply(t, w.identity(t, cart()))
			w.failAfter(writes)
			plan, err := w.deletion(t)()
			if err != nil {
				t.Fatal(err)
			}
			if err := plan.Apply(t.Context(), func(provision.Step) {}); err == nil {
				t.Fatal("got no error")
			}
			w.fix()
			apply(t, w.deletion(t))
			if got, want := w.state(t), empty.state(t); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			again, err := w.deletion(t)()
			if err != nil {
				t.Fatal(err)
			}
			if again.Changes() != 0 {
				t.Errorf("next plan: got %+v, want no changes", again.Steps)
			}
		})
	}
}

func countDone(plan *provision.Plan) int {
	done := 0
	for _, step := range plan.Steps {
		if step.State == provision.Done {
			done++
		}
	}
	return done
}

func TestPlanIdentity_correctsDrift(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	want := w.state(t)
	name := aws.String("prod.shop.cart")
	ctx := t.Context()
	if _, err := w.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(queue)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.kubernetes.CoreV1().ServiceAccounts("shop").Patch(ctx, "cart", "application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+annotation+`":null}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if done := countDone(apply(t, w.identity(t, cart()))); done != 2 {
		t.Errorf("got %d steps, want 2", done)
	}
	if got := w.state(t); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A second run changes the trust policy only if no statement allows the ServiceAccount. Then
// it adds one and keeps the others.
func TestPlanIdentity_trustPolicy(t *testing.T) {
	allow := func(subject, more string) string {
		return `{"Sid":"a","Effect":"Allow","Principal":{"Federated":["` + clusterProvider + `"]},"Action":["sts:AssumeRoleWithWebIdentity"],"Condition":{"StringEquals":{` +
			`"oidc.example.com/prod:aud":["sts.amazonaws.com"],"oidc.example.com/prod:sub":["system:serviceaccount:` + subject + `"]}` + more + `}}`
	}
	const guard = `{"Sid":"guard","Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"NotIpAddressIfExists":{"aws:SourceIp":"203.0.113.0/24"}}}`
	for name, test := range map[string]struct {
		statements string
		adds       bool
		warning    string
	}{
		"another subject and a Deny guard": {statements: allow("web:front", "") + "," + guard, adds: true},
		"allowed in another form":          {statements: allow("shop:cart", "")},
		"allowed, with a Deny guard":       {statements: allow("shop:cart", "") + "," + guard},
		"allowed in one network":           {statements: allow("shop:cart", `,"StringLike":{"aws:SourceVpc":"vpc-1"}`)},
		"allowed to all":                   {statements: `{"Effect":"Allow","Principal":{"Federated":"` + clusterProvider + `"},"Action":"sts:*"}`, warning: "no condition that requires a sub"},
		"denied":                           {statements: allow("shop:cart", "") + `,{"Effect":"Deny","Principal":"*","Action":"sts:*"}`, warning: "statement 2 denies the request"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			apply(t, w.identity(t, cart()))
			before := `{"Version":"2012-10-17","Statement":[` + test.statements + `]}`
			if _, err := w.IAM.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
				RoleName: aws.String("prod.shop.cart"), PolicyDocument: aws.String(before),
			}); err != nil {
				t.Fatal(err)
			}
			w.iam.Writes()
			plan := apply(t, w.identity(t, cart()))
			if test.warning != "" && !strings.Contains(strings.Join(plan.Warnings, "\n"), test.warning) {
				t.Errorf("got warnings %q, want %q in them", plan.Warnings, test.warning)
			}
			var want []string
			if test.adds {
				want = []string{"UpdateAssumeRolePolicy"}
			}
			if got := w.iam.Writes(); !slices.Equal(got, want) {
				t.Errorf("got calls %q, want %q", got, want)
			}
			role, err := w.IAM.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("prod.shop.cart")})
			if err != nil {
				t.Fatal(err)
			}
			after, err := url.PathUnescape(aws.ToString(role.Role.AssumeRolePolicyDocument))
			if err != nil {
				t.Fatal(err)
			}
			if kept := strings.TrimSuffix(before, "]}"); !strings.HasPrefix(after, kept) || test.adds == (after == before) {
				t.Errorf("got %s, want the statements of %s and %t for one more", after, before, test.adds)
			}
			if plan := apply(t, w.identity(t, cart())); countDone(plan) != 0 {
				t.Errorf("got %+v, want no change in a third run", plan.Steps)
			}
		})
	}
}

// IAM rejects a trust policy that is longer than the quota. The plan warns of that.
func TestPlanIdentity_longTrustPolicy(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	statement := `{"Effect":"Allow","Principal":{"Federated":"` + clusterProvider + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{` +
		`"oidc.example.com/prod:sub":"system:serviceaccount:web:` + strings.Repeat("x", 1500) + `"}}}`
	if _, err := w.IAM.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName: aws.String("prod.shop.cart"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statement + `]}`),
	}); err != nil {
		t.Fatal(err)
	}
	plan, err := w.identity(t, cart())()
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(plan.Warnings, "\n"); !strings.Contains(all, "the default limit of IAM is 2048") {
		t.Errorf("got warnings %q, want one about the length", plan.Warnings)
	}
}

func TestPlanIdentity_updatesBoundaryAndTags(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	w.iam.Writes()
	spec := cart()
	spec.Boundary, spec.Tags = readOnly, map[string]string{"team": "shop"}
	apply(t, w.identity(t, spec))
	if got := w.iam.Writes(); !slices.Equal(got, []string{"PutRolePermissionsBoundary", "TagRole"}) {
		t.Errorf("got %q", got)
	}
	if plan := apply(t, w.identity(t, cart())); countDone(plan) != 0 {
		t.Errorf("got %+v, want boundary and tags kept", plan.Steps)
	}
}

func TestPlanIdentity_roleNotManaged(t *testing.T) {
	other := types.Tag{Key: aws.String("kubectl-irsa/issuer"), Value: aws.String("oidc.example.com/another")}
	for name, test := range map[string]struct {
		serviceAccount *corev1.ServiceAccount
		role           string
		tags           []types.Tag
		spec           func(*provision.IdentitySpec)
		want           string
	}{
		"a role without tags": {
			role: "prod.shop.cart", want: "kubectl irsa did not create it for this ServiceAccount",
		},
		"a role of another cluster": {
			role: "prod.shop.cart", tags: []types.Tag{other}, want: "pass another --role-name",
		},
		"an unmanaged role with the given name": {
			role: "theirs", spec: func(s *provision.IdentitySpec) { s.RoleName = "theirs" }, want: "role/theirs exists",
		},
		"a ServiceAccount with another role": {
			serviceAccount: serviceAccount("cart", annotation+"=arn:aws:iam::111122223333:role/theirs"), want: "--override-existing-serviceaccounts",
		},
		"a ServiceAccount with another audience": {
			serviceAccount: serviceAccount("cart", "eks.amazonaws.com/audience=theirs"),
			spec:           func(s *provision.IdentitySpec) { s.Audience = "ours" }, want: "has the annotation eks.amazonaws.com/audience=theirs, not ours",
		},
		"a wildcard in the name": {
			spec: func(s *provision.IdentitySpec) { s.Name = "*" }, want: `ServiceAccount "*"`,
		},
		"a wildcard in the namespace": {
			spec: func(s *provision.IdentitySpec) { s.Namespace = "shop-?" }, want: `namespace "shop-?"`,
		},
		"a namespace that does not exist": {
			spec: func(s *provision.IdentitySpec) { s.Namespace = "shops" }, want: "kubectl create namespace shops",
		},
		"an invalid role name": {
			spec: func(s *provision.IdentitySpec) { s.RoleName = "a b" }, want: "--role-name",
		},
		"a path without a slash at the end": {
			spec: func(s *provision.IdentitySpec) { s.Path = "/team" }, want: "--path",
		},
		"an invalid policy ARN": {
			spec: func(s *provision.IdentitySpec) { s.PolicyARNs = []string{"AmazonS3ReadOnlyAccess"} }, want: "--attach-policy-arn",
		},
		"an invalid boundary ARN": {
			spec: func(s *provision.IdentitySpec) { s.Boundary = "x" }, want: "--permissions-boundary",
		},
		"a reserved tag": {
			spec: func(s *provision.IdentitySpec) { s.Tags = map[string]string{"kubectl-irsa/issuer": "x"} }, want: "tag kubectl-irsa/issuer",
		},
		"a reserved tag in other case": {
			spec: func(s *provision.IdentitySpec) { s.Tags = map[string]string{"Kubectl-IRSA/Issuer": "x"} }, want: "tag Kubectl-IRSA/Issuer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			if test.serviceAccount != nil {
				objects = append(objects, test.serviceAccount)
			}
			w := newTestEnv(t, objects...)
			if test.role != "" {
				w.unmanagedRole(t, test.role, otherProvider, test.tags...)
			}
			spec := cart()
			if test.spec != nil {
				test.spec(&spec)
			}
			_, err := w.PlanIdentity(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if writes := w.iam.Writes(); len(writes) != 0 {
				t.Errorf("got writes %q, want none", writes)
			}
		})
	}
}

func TestPlanIdentity_existingServiceAccount(t *testing.T) {
	existing := serviceAccount("cart", "theirs=stays")
	existing.Labels = map[string]string{"app": "cart"}
	w := newTestEnv(t, existing)
	apply(t, w.identity(t, cart()))
	got := w.cart(t)
	if !maps.Equal(got.Annotations, map[string]string{annotation: cartRole, "theirs": "stays"}) || !maps.Equal(got.Labels, existing.Labels) {
		t.Errorf("got annotations %v, labels %v", got.Annotations, got.Labels)
	}
	apply(t, w.deletion(t))
	got = w.cart(t)
	if !maps.Equal(got.Annotations, map[string]string{"theirs": "stays"}) || !maps.Equal(got.Labels, existing.Labels) {
		t.Errorf("after deletion: got annotations %v, labels %v", got.Annotations, got.Labels)
	}
}

func TestPlanIdentity_overrideRole(t *testing.T) {
	w := newTestEnv(t, serviceAccount("cart", annotation+"=arn:aws:iam::111122223333:role/theirs"))
	spec := cart()
	spec.Override = true
	apply(t, w.identity(t, spec))
	if got := w.cart(t).Annotations[annotation]; got != cartRole {
		t.Errorf("got %s", got)
	}
}

func TestPlanIdentity_keepsExistingRole(t *testing.T) {
	w := newTestEnv(t)
	spec := cart()
	spec.RoleName, spec.Path = "existing", "/team/"
	apply(t, w.identity(t, spec))
	if got, want := w.cart(t).Annotations[annotation], "arn:aws:iam::111122223333:role/team/existing"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	again := apply(t, w.identity(t, cart()))
	if countDone(again) != 0 {
		t.Errorf("got %+v", again.Steps)
	}
	apply(t, w.deletion(t))
	if got, want := w.state(t), newTestEnv(t).state(t); got != want {
		t.Errorf("got %s", got)
	}
}

func TestPlanIdentity_roleOnly(t *testing.T) {
	w := newTestEnv(t, serviceAccount("cart", annotation+"=arn:aws:iam::111122223333:role/theirs"))
	spec := cart()
	spec.RoleOnly = true
	before := w.cart(t).Annotations
	apply(t, w.identity(t, spec))
	plan := apply(t, func() (*provision.Plan, error) {
		return w.PlanIdentityDeletion(t.Context(), provision.DeletionSpec{Namespace: "shop", Name: "cart", RoleOnly: true})
	})
	if countDone(plan) != 3 {
		t.Errorf("got %+v", plan.Steps)
	}
	if after := w.cart(t).Annotations; !maps.Equal(before, after) {
		t.Errorf("got %v", after)
	}
}

func TestPlanIdentity_audience(t *testing.T) {
	w := newTestEnv(t)
	spec := cart()
	spec.Audience = "sts.example.com"
	plan := apply(t, w.identity(t, spec))
	if got := w.cart(t).Annotations["eks.amazonaws.com/audience"]; got != "sts.example.com" {
		t.Errorf("got audience %q", got)
	}
	if !strings.Contains(plan.Steps[0].Details[0], "sts.example.com") {
		t.Errorf("got %q", plan.Steps[0].Details)
	}
	if again := apply(t, w.identity(t, cart())); countDone(again) != 0 {
		t.Errorf("got %+v, want the audience of the annotation", again.Steps)
	}
	roleOnly := cart()
	roleOnly.RoleOnly = true
	if again := apply(t, w.identity(t, roleOnly)); countDone(again) != 0 {
		t.Errorf("--role-only: got %+v, want the audience of the annotation", again.Steps)
	}
}

func TestPlanIdentityDeletion_otherRoleAnnotation(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	if _, err := w.kubernetes.CoreV1().ServiceAccounts("shop").Patch(t.Context(), "cart", "application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+annotation+`":"arn:aws:iam::111122223333:role/theirs"}}}`), metav1.PatchOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	apply(t, w.deletion(t))
	if got := w.cart(t).Annotations[annotation]; got != "arn:aws:iam::111122223333:role/theirs" {
		t.Errorf("got %s", got)
	}
}

func TestPlanIdentityDeletion_unmanagedRole(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*testing.T, *testEnv)
		spec    provision.DeletionSpec
		want    string
	}{
		"a role without tags, by name": {
			func(t *testing.T, w *testEnv) { w.unmanagedRole(t, "theirs", otherProvider) },
			provision.DeletionSpec{Namespace: "shop", Name: "cart", RoleName: "theirs"},
			"the tool that created it",
		},
		"a role of another ServiceAccount, by name": {
			func(t *testing.T, w *testEnv) { apply(t, w.identity(t, cart())) },
			provision.DeletionSpec{Namespace: "shop", Name: "till", RoleName: "prod.shop.cart"},
			"for ServiceAccount shop/till",
		},
		"a role with an inline policy": {
			func(t *testing.T, w *testEnv) {
				apply(t, w.identity(t, cart()))
				_, err := w.IAM.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
					RoleName: aws.String("prod.shop.cart"), PolicyName: aws.String("theirs"),
					PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`),
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			provision.DeletionSpec{Namespace: "shop", Name: "cart"},
			"aws iam delete-role-policy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			test.prepare(t, w)
			w.iam.Writes()
			_, err := w.PlanIdentityDeletion(t.Context(), test.spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	t.Run("a role without tags, by default", func(t *testing.T) {
		w := newTestEnv(t, serviceAccount("cart", annotation+"="+cartRole))
		w.unmanagedRole(t, "prod.shop.cart", otherProvider)
		if plan := apply(t, w.deletion(t)); countDone(plan) != 0 {
			t.Errorf("got %+v", plan.Steps)
		}
	})
}

func TestPlanIdentityDeletion_listRolesDenied(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	w.iam.Fail(func(operation string) error {
		if operation == "ListRoles" {
			return fakeiam.Denied(operation)
		}
		return nil
	})
	plan := apply(t, w.deletion(t))
	if len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "iam:ListRoles") {
		t.Errorf("got %q", plan.Warnings)
	}
	w.iam.Fail(nil)
	if got, want := w.state(t), newTestEnv(t).state(t); got != want {
		t.Errorf("got %s", got)
	}
}

func TestApply_conflict(t *testing.T) {
	w := newTestEnv(t, serviceAccount("cart"))
	plan, err := w.PlanIdentity(t.Context(), cart())
	if err != nil {
		t.Fatal(err)
	}
	var patches []string
	w.kubernetes.PrependReactor("patch", "serviceaccounts", func(action kubetesting.Action) (bool, runtime.Object, error) {
		patches = append(patches, string(action.(kubetesting.PatchAction).GetPatch()))
		return false, nil, nil
	})
	if err := plan.Apply(t.Context(), func(provision.Step) {}); err != nil {
		t.Fatal(err)
	}
	if len(patches) != 1 || !strings.Contains(patches[0], `"resourceVersion":`) {
		t.Errorf("got %q", patches)
	}
}

func TestIdentities_states(t *testing.T) {
	w := newTestEnv(t, serviceAccount("other", annotation+"=arn:aws:iam::111122223333:role/theirs"), serviceAccount("bare"))
	for _, name := range []string{"complete", "deleted", "dangling"} {
		apply(t, w.identity(t, provision.IdentitySpec{Namespace: "shop", Name: name}))
	}
	for _, name := range []string{"other", "bare"} {
		apply(t, w.identity(t, provision.IdentitySpec{Namespace: "shop", Name: name, RoleOnly: true}))
	}
	w.unmanagedRole(t, "theirs", otherProvider)
	if err := w.kubernetes.CoreV1().ServiceAccounts("shop").Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.IAM.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("prod.shop.dangling")}); err != nil {
		t.Fatal(err)
	}
	identities, accountsErr, err := w.Identities(t.Context(), "")
	if err != nil || accountsErr != nil {
		t.Fatal(err, accountsErr)
	}
	got := map[string]provision.IdentityState{}
	for _, identity := range identities {
		got[identity.ServiceAccount] = identity.State
	}
	want := map[string]provision.IdentityState{
		"complete": provision.Complete, "deleted": provision.NoServiceAccount, "dangling": provision.NoRole, "other": provision.OtherRole, "bare": provision.NotAnnotated,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if elsewhere, _, err := w.Identities(t.Context(), "elsewhere"); err != nil || len(elsewhere) != 0 {
		t.Errorf("got %v, %v", elsewhere, err)
	}
}

func TestIdentities_forbidden(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.identity(t, cart()))
	w.kubernetes.PrependReactor("list", "serviceaccounts", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	identities, accountsErr, err := w.Identities(t.Context(), "")
	if err != nil || accountsErr == nil || len(identities) != 1 || identities[0].State != provision.Unknown {
		t.Errorf("got %+v, %v, %v", identities, accountsErr, err)
	}
}

func TestPlanProvider_existing(t *testing.T) {
	w := newTestEnv(t)
	const thumbprint = "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"
	_, err := w.IAM.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuer), ClientIDList: []string{"theirs"}})
	if err != nil {
		t.Fatal(err)
	}
	w.iam.Writes()
	spec := provision.ProviderSpec{Audiences: []string{provision.DefaultAudience}, Thumbprints: []string{strings.ToUpper(thumbprint)}, Tags: map[string]string{"team": "shop"}}
	plan := apply(t, w.provider(t, spec))
	want := []string{"AddClientIDToOpenIDConnectProvider", "UpdateOpenIDConnectProviderThumbprint", "TagOpenIDConnectProvider"}
	if got := w.iam.Writes(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if all := strings.Join(plan.Warnings, "\n"); !strings.Contains(all, "kubectl irsa did not create it") || !strings.Contains(all, "also accepts the audience theirs") {
		t.Errorf("got %s", all)
	}
	if _, err := w.PlanProviderDeletion(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("got %v", err)
	}
	apply(t, func() (*provision.Plan, error) { return w.PlanProviderDeletion(t.Context(), true) })
	again := apply(t, func() (*provision.Plan, error) { return w.PlanProviderDeletion(t.Context(), false) })
	if countDone(again) != 0 {
		t.Errorf("got %+v", again.Steps)
	}
}

func TestPlanProviderDeletion_warnsAboutRoles(t *testing.T) {
	w := newTestEnv(t)
	apply(t, w.provider(t, provision.ProviderSpec{Audiences: []string{provision.DefaultAudience}}))
	apply(t, w.identity(t, cart()))
	w.unmanagedRole(t, "theirs", clusterProvider)
	w.unmanagedRole(t, "longer", clusterProvider+"-2")
	plan, err := w.PlanProviderDeletion(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(plan.Warnings, "\n")
	if !strings.Contains(all, "role/theirs trusts") || !strings.Contains(all, cartRole+" trusts") || strings.Contains(all, "longer") {
		t.Errorf("got %s", all)
	}
}

func TestProviderSpec_invalid(t *testing.T) {
	for want, spec := range map[string]provision.ProviderSpec{
		"no audience":           {},
		`--audience "a b"`:      {Audiences: []string{"a b"}},
		`--thumbprint "9e:99"`:  {Audiences: []string{"a"}, Thumbprints: []string{"9e:99"}},
		"tag kubectl-irsa/mine": {Audiences: []string{"a"}, Tags: map[string]string{"kubectl-irsa/mine": ""}},
	} {
		if _, err := newTestEnv(t).PlanProvider(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestProvider(t *testing.T) {
	w := newTestEnv(t)
	w.Reach = func(context.Context, string) error { return errors.New("no route") }
	report, err := w.Provider(t.Context(), []string{provision.DefaultAudience})
	if err != nil {
		t.Fatal(err)
	}
	if report.Exists || len(report.Faults) != 1 || !strings.Contains(report.Warnings[0], "no route") {
		t.Errorf("got %+v", report)
	}
	_, err = w.IAM.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://OIDC.example.com/prod/")})
	if err != nil {
		t.Fatal(err)
	}
	if report, err = w.Provider(t.Context(), nil); err != nil || len(report.Faults) != 2 || !strings.Contains(report.Faults[1], "oidc-provider/OIDC.example.com/prod/") {
		t.Errorf("got %+v, %v", report, err)
	}
	plan := apply(t, w.provider(t, provision.ProviderSpec{Audiences: []string{"another"}}))
	if all := strings.Join(plan.Warnings, "\n"); !strings.Contains(all, "oidc-provider/OIDC.example.com/prod/, which differs") {
		t.Errorf("got %s", all)
	}
	report, err = w.Provider(t.Context(), []string{provision.DefaultAudience})
	if err != nil || !report.Exists || !report.MadeHere || len(report.Faults) != 1 || !strings.Contains(report.Faults[0], "--audience "+provision.DefaultAudience) {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestAWSError_message(t *testing.T) {
	w := newTestEnv(t)
	w.iam.Fail(fakeiam.Denied)
	_, err := w.PlanProvider(t.Context(), provision.ProviderSpec{Audiences: []string{"a"}})
	const want = "get OIDC provider arn:aws:iam::111122223333:oidc-provider/oidc.example.com/prod: AccessDenied: User: arn:aws:iam::111122223333:user/me is not authorized to perform: iam:GetOpenIDConnectProvider"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
