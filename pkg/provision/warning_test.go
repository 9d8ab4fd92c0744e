package provision_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

func TestPlanIdentity_warnings(t *testing.T) {
	labeled := func(labels, annotations map[string]string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Labels: labels, Annotations: annotations}}
	}
	for name, test := range map[string]struct {
		objects []runtime.Object
		spec    func(*provision.IdentitySpec)
		want    string
		not     string
	}{
		"the default ServiceAccount": {spec: func(s *provision.IdentitySpec) { s.Name = "default" }, want: "each pod of namespace shop that names no ServiceAccount"},
		"another ServiceAccount":     {not: "names no ServiceAccount"},
		"no policies":                {spec: func(s *provision.IdentitySpec) { s.PolicyARNs = nil }, want: "role prod.shop.cart has no policies"},
		"policies":                   {not: "has no policies"},
		"Helm":                       {objects: []runtime.Object{labeled(nil, map[string]string{"meta.helm.sh/release-name": "shop"})}, want: "managed by Helm (shop)"},
		"Helm's label":               {objects: []runtime.Object{labeled(map[string]string{"app.kubernetes.io/managed-by": "Helm"}, nil)}, want: "managed by Helm, which may remove"},
		"Argo CD":                    {objects: []runtime.Object{labeled(nil, map[string]string{"argocd.argoproj.io/tracking-id": "shop:/ServiceAccount:shop/cart"})}, want: "managed by Argo CD"},
		"Argo CD's label":            {objects: []runtime.Object{labeled(map[string]string{"argocd.argoproj.io/instance": "shop"}, nil)}, want: "eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/prod.shop.cart there"},
		"Argo CD, role only": {
			objects: []runtime.Object{labeled(map[string]string{"argocd.argoproj.io/instance": "shop"}, nil)},
			spec:    func(s *provision.IdentitySpec) { s.RoleOnly = true }, not: "managed by",
		},
		"an unmanaged ServiceAccount": {objects: []runtime.Object{labeled(map[string]string{"app": "cart"}, nil)}, not: "managed by"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := cart()
			if test.spec != nil {
				test.spec(&spec)
			}
			plan, err := newTestEnv(t, test.objects...).identity(t, spec)()
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(plan.Warnings, "\n")
			if !strings.Contains(all, test.want) || test.not != "" && strings.Contains(all, test.not) {
				t.Errorf("got warnings %q, want %q and not %q", plan.Warnings, test.want, test.not)
			}
		})
	}
}

// A role with only an inline policy has permissions.
func TestPlanIdentity_existingPolicies(t *testing.T) {
	w := newTestEnv(t)
	spec := cart()
	spec.PolicyARNs = nil
	apply(t, w.identity(t, cart()))
	plan, err := w.identity(t, spec)()
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(plan.Warnings, "\n"); strings.Contains(all, "has no policies") {
		t.Errorf("got warnings %q for a role with attached policies", plan.Warnings)
	}
}

func TestPlanIdentity_partition(t *testing.T) {
	for _, change := range []func(*provision.IdentitySpec){
		func(s *provision.IdentitySpec) {
			s.PolicyARNs = []string{"arn:aws-cn:iam::aws:policy/AmazonS3ReadOnlyAccess"}
		},
		func(s *provision.IdentitySpec) { s.Boundary = "arn:aws-us-gov:iam::111122223333:policy/bound" },
	} {
		spec := cart()
		change(&spec)
		if _, err := newTestEnv(t).identity(t, spec)(); err == nil || !strings.Contains(err.Error(), "is not in partition aws of account 111122223333") {
			t.Errorf("got %v, want an error with both partitions", err)
		}
	}
}

func TestPlanIdentity_createNamespace(t *testing.T) {
	w := newTestEnv(t)
	spec := cart()
	spec.Namespace, spec.CreateNamespace = "store", true
	plan := apply(t, w.identity(t, spec))
	if _, err := w.kubernetes.CoreV1().Namespaces().Get(t.Context(), "store", metav1.GetOptions{}); err != nil {
		t.Errorf("%v after %+v", err, plan.Steps)
	}
	if plan := apply(t, w.identity(t, spec)); countDone(plan) != 0 {
		t.Errorf("got %+v in a second run, want no change", plan.Steps)
	}
}

// The plan of a deletion names what else loses its permissions.
func TestPlanIdentityDeletion_warnings(t *testing.T) {
	pod := func(name, account string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{ServiceAccountName: account}}
	}
	w := newTestEnv(t, pod("cart-1", "cart"))
	apply(t, w.identity(t, cart()))
	plan, err := w.deletion(t)()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(plan.Warnings, "\n")
	if !strings.Contains(all, "pods run as ServiceAccount shop/cart") || !strings.Contains(all, "cart-1") || strings.Contains(all, "also trusts") {
		t.Errorf("got warnings %q, want only one with pod cart-1", plan.Warnings)
	}
	if _, err := w.IAM.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName: aws.String("prod.shop.cart"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + clusterProvider +
			`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"oidc.example.com/prod:sub":["system:serviceaccount:shop:cart","system:serviceaccount:web:front"]}}}]}`),
	}); err != nil {
		t.Fatal(err)
	}
	if plan, err = w.deletion(t)(); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(plan.Warnings, "\n"); !strings.Contains(all, "role prod.shop.cart also trusts system:serviceaccount:web:front") {
		t.Errorf("got warnings %q, want one with the other subject", plan.Warnings)
	}
}
