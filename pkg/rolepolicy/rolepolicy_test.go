package rolepolicy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

const (
	ours  = "eks.amazonaws.com/permitted-roles"
	kiam  = "iam.amazonaws.com/permitted"
	kube2 = "iam.amazonaws.com/allowed-roles"

	appRole  = "arn:aws:iam::111122223333:role/app"
	teamRole = "arn:aws:iam::111122223333:role/team/app"
)

func evaluate(mode rolepolicy.Mode, annotations map[string]string, role string) error {
	return rolepolicy.Evaluate(mode, "eks.amazonaws.com", "team-a", annotations, role)
}

func TestEvaluate(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		role        string
		permitted   bool
	}{
		{"no policy permits all", nil, appRole, true},
		{"an ARN", map[string]string{ours: `["` + appRole + `"]`}, appRole, true},
		{"an ARN with a star", map[string]string{ours: `["arn:aws:iam::111122223333:role/*"]`}, teamRole, true},
		{"a star in the middle", map[string]string{ours: `["arn:aws:iam::*:role/app"]`}, appRole, true},
		{"two stars", map[string]string{ours: `["arn:*:iam::*:role/app"]`}, appRole, true},
		{"a star for everything", map[string]string{ours: "*"}, "anything", true},
		{"a name", map[string]string{ours: `["app"]`}, appRole, true},
		{"a path and name", map[string]string{ours: `["/team/*"]`}, teamRole, true},
		{"a list of comma-separated values with spaces", map[string]string{ours: "other, app"}, appRole, true},
		{"a pattern must match the whole", map[string]string{ours: `["ap"]`}, appRole, false},
		{"a name does not match a path", map[string]string{ours: `["app"]`}, teamRole, false},
		{"another account", map[string]string{ours: `["arn:aws:iam::999999999999:role/*"]`}, appRole, false},
		{"the pieces around stars must not overlap", map[string]string{ours: `["arn:aws:iam::111122223333:role/app*pp"]`}, appRole, false},
		{"an empty list permits nothing", map[string]string{ours: "[]"}, appRole, false},
		{"an empty policy permits nothing", map[string]string{ours: ""}, appRole, false},
		{"half a list permits nothing", map[string]string{ours: `["app"`}, appRole, false},
		{"a list of numbers permits nothing", map[string]string{ours: "[1]"}, appRole, false},
		{"broken quotes permit nothing", map[string]string{ours: `"app`}, appRole, false},

		{"kiam: a name", map[string]string{kiam: "app"}, appRole, true},
		{"kiam: an ARN", map[string]string{kiam: "arn:aws:iam::.*:role/a.*"}, appRole, true},
		{"kiam: everything", map[string]string{kiam: ".*"}, teamRole, true},
		{"kiam: the whole must match", map[string]string{kiam: "ap"}, appRole, false},
		{"kiam: an alternative is anchored too", map[string]string{kiam: "x|ap"}, appRole, false},
		{"kiam: no expression", map[string]string{kiam: ""}, appRole, false},
		{"kiam: a broken expression", map[string]string{kiam: "("}, appRole, false},

		{"kube2iam: an ARN", map[string]string{kube2: `["` + appRole + `"]`}, appRole, true},
		{"kube2iam: a glob", map[string]string{kube2: `["a*"]`}, appRole, true},
		{"kube2iam: another", map[string]string{kube2: `["b*"]`}, appRole, false},
		{"kube2iam: no JSON", map[string]string{kube2: "app"}, appRole, false},

		{"either of the others is enough", map[string]string{kiam: "x", kube2: `["app"]`}, appRole, true},
		{"ours is all that counts", map[string]string{ours: "x", kiam: ".*", kube2: `["*"]`}, appRole, false},
		{"ours, though it cannot be read, is all that counts", map[string]string{ours: "[", kiam: ".*"}, appRole, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := evaluate(rolepolicy.On, test.annotations, test.role)
			if (err == nil) != test.permitted {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				return
			}
			if _, ok := errors.AsType[*rolepolicy.DeniedError](err); !ok {
				t.Errorf("got a %T", err)
			}
			for _, want := range []string{"team-a", test.role, "annotation"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message does not name %s: %v", want, err)
				}
			}
		})
	}
}

func TestModes(t *testing.T) {
	if err := evaluate(rolepolicy.Off, map[string]string{ours: "x"}, appRole); err != nil {
		t.Errorf("off: %v", err)
	}
	if err := evaluate(rolepolicy.Require, nil, appRole); err == nil {
		t.Error("require, without a policy: permitted")
	}
	if err := evaluate(rolepolicy.Require, map[string]string{ours: "app"}, appRole); err != nil {
		t.Errorf("require, with a policy: %v", err)
	}
	for _, mode := range []rolepolicy.Mode{rolepolicy.Off, rolepolicy.On, rolepolicy.Require} {
		if got, err := rolepolicy.ParseMode(string(mode)); got != mode || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := rolepolicy.ParseMode("deny"); err == nil {
		t.Error("an unknown mode is taken")
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(`["*"]`, ".*", `["app"]`, appRole)
	f.Add("a,b", "(", "", "app")
	f.Add("*a**b*", "", "[", "x")
	f.Fuzz(func(t *testing.T, policy, expression, list, role string) {
		annotations := map[string]string{ours: policy, kiam: expression, kube2: list}
		if err := evaluate(rolepolicy.Off, annotations, role); err != nil {
			t.Errorf("off: %v", err)
		}
		if err := evaluate(rolepolicy.On, annotations, role); err != nil && len(err.Error()) > 2000+2*len(role)*4 {
			t.Errorf("a message of %d bytes", len(err.Error()))
		}
		annotations[ours] = "*"
		if err := evaluate(rolepolicy.Require, annotations, role); err != nil {
			t.Errorf("everything is permitted, but: %v", err)
		}
		if err := evaluate(rolepolicy.Require, nil, role); err == nil {
			t.Error("nothing is permitted, but the role is")
		}
	})
}
