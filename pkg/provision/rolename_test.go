package provision_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
)

func TestRoleName(t *testing.T) {
	long := strings.Repeat("x", 60)
	for name, test := range map[string]struct{ cluster, namespace, serviceAccount, want string }{
		"cluster, namespace and ServiceAccount": {"prod", "shop", "cart", "prod.shop.cart"},
		"dot in the cluster name":               {"prod.v2", "shop", "cart", "prod-v2.shop.cart"},
		"dots in the ServiceAccount name":       {"prod", "shop", "cart.v1", "prod.shop.cart.v1"},
		"64 characters":                         {"prod", "shop", strings.Repeat("x", 54), "prod.shop." + strings.Repeat("x", 54)},
		"more than 64 characters":               {"prod", "shop", long, "prod.shop." + strings.Repeat("x", 45) + "-c927f650"},
	} {
		t.Run(name, func(t *testing.T) {
			got := provision.RoleName(test.cluster, test.namespace, test.serviceAccount)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzRoleName(f *testing.F) {
	valid := regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	f.Add("prod", "shop", "cart", "shop", "cart.v1")
	f.Add("a.b c", "kube-system", strings.Repeat("x", 253), "kube-system", strings.Repeat("x", 252)+"y")
	namespaces := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accounts := regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, cluster, namespace, account, otherNamespace, otherAccount string) {
		for _, name := range []string{namespace, otherNamespace} {
			if !namespaces.MatchString(name) {
				t.Skip()
			}
		}
		for _, name := range []string{account, otherAccount} {
			if !accounts.MatchString(name) {
				t.Skip()
			}
		}
		one, other := provision.RoleName(cluster, namespace, account), provision.RoleName(cluster, otherNamespace, otherAccount)
		if !valid.MatchString(one) {
			t.Errorf("got invalid role name %q", one)
		}
		if same := namespace == otherNamespace && account == otherAccount; (one == other) != same {
			t.Errorf("got %q for %s/%s and %q for %s/%s, want equal names: %t", one, namespace, account, other, otherNamespace, otherAccount, same)
		}
	})
}
