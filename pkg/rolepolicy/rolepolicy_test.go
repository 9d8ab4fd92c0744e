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
		{"an ARN", map[string]string{ours: `["` + appRole + `"]`}, appRole, true},
		{"an ARN with a star", map[string]string{ours: `["arn:aws:iam::111122223333:role/*"]`}, teamRole, true},
		{"a star in the middle", map[string]string{ours: `["arn:aws:iam::*:role/app"]`}, appRole, true},
		{"two stars", map[string]string{ours: `["arn:*:iam::*:role/app"]`}, appRole, true},
		{"a star for everything", map[string]string{ours: "*"}, "anything:at all", true},
		{"a name", map[string]string{ours: `["app"]`}, appRole, true},
		{"a name holds for roles of Ceph without an account", map[string]string{ours: `["S3Access"]`}, "arn:aws:iam:::role/S3Access", true},
		{"the ARN of a role of Ceph", map[string]string{ours: "arn:aws:iam::RGW12345678901234567:role/*"}, "arn:aws:iam::RGW12345678901234567:role/app", true},
		{"a pattern for AWS does not match a role of Ceph", map[string]string{ours: "arn:aws:iam::111122223333:role/*"}, "arn:aws:iam:::role/S3Access", false},
		{"a name holds for roles of MinIO", map[string]string{ours: "dummy-*"}, "arn:minio:iam:::role/dummy-internal", true},
		{"a name holds in every account", map[string]string{ours: `["app"]`}, "arn:aws-cn:iam::999999999999:role/app", true},
		{"a path and name", map[string]string{ours: `["team/app"]`}, teamRole, true},
		{"a path with a slash before it", map[string]string{ours: `["/team/*"]`}, teamRole, true},
		{"one of several", map[string]string{ours: `["other", "app"]`}, appRole, true},
		{"none of several", map[string]string{ours: `["other", "another"]`}, appRole, false},
		{"a list of comma-separated values with spaces", map[string]string{ours: "other, app"}, appRole, true},
		{"a list over the lines of a YAML block", map[string]string{ours: "other,\nanother,team/*, app\n"}, appRole, true},
		{"a quoted name with a comma", map[string]string{ours: `other, "a,b"`}, "arn:aws:iam::111122223333:role/a,b", true},
		{"a JSON list with space around it", map[string]string{ours: " [\"app\"]\n"}, appRole, true},
		{"a pattern must match the whole name", map[string]string{ours: `["ap"]`}, appRole, false},
		{"a pattern must match from the start", map[string]string{ours: `["pp"]`}, appRole, false},
		{"a name does not match a path", map[string]string{ours: `["app"]`}, teamRole, false},
		{"another account", map[string]string{ours: `["arn:aws:iam::999999999999:role/*"]`}, appRole, false},
		{"a dot is a dot", map[string]string{ours: `["a.p"]`}, appRole, false},
		{"the pieces around stars must not overlap", map[string]string{ours: `["arn:aws:iam::111122223333:role/app*pp"]`}, appRole, false},
		{"a name that contains :role/ does not match the part after it", map[string]string{ours: `["app"]`}, "arn:aws:iam::111122223333:role/x:role/app", false},
		{"an empty list permits nothing", map[string]string{ours: "[]"}, appRole, false},
		{"a list with a blank string does not permit a role without a name", map[string]string{ours: `[" "]`}, "arn:aws:iam::111122223333:role/", false},
		{"an empty policy permits nothing", map[string]string{ours: ""}, appRole, false},
		{"an incomplete list permits nothing", map[string]string{ours: `["app"`}, appRole, false},
		{"a list of a role and a number permits nothing", map[string]string{ours: `["app", 1]`}, appRole, false},
		{"a list of a role and null permits nothing", map[string]string{ours: `["app", null]`}, appRole, false},
		{"two lists permit nothing", map[string]string{ours: `["app"] ["app"]`}, appRole, false},
		{"broken quotes permit nothing", map[string]string{ours: `app,"app`}, appRole, false},

		{"kiam: a name", map[string]string{kiam: "app"}, appRole, true},
		{"kiam: a path and name", map[string]string{kiam: "team/.*"}, teamRole, true},
		{"kiam: an ARN", map[string]string{kiam: "arn:aws:iam::.*:role/a.*"}, appRole, true},
		{"kiam: an expression with anchors", map[string]string{kiam: "^red.*$|^app$"}, appRole, true},
		{"kiam: everything", map[string]string{kiam: ".*"}, teamRole, true},
		{"kiam: a path in an ARN", map[string]string{kiam: ".*/team/.*"}, teamRole, true},
		{"kiam: the longer of two alternatives", map[string]string{kiam: "a|app"}, appRole, true},
		{"kiam: a non-greedy expression", map[string]string{kiam: "a.*?"}, appRole, true},
		{"kiam: the whole name must match", map[string]string{kiam: "ap"}, appRole, false},
		{"kiam: a match inside the name is not enough", map[string]string{kiam: "p"}, appRole, false},
		{"kiam: the first alternative must match the whole name", map[string]string{kiam: "ap|x"}, appRole, false},
		{"kiam: the last alternative must match the whole name", map[string]string{kiam: "x|pp"}, appRole, false},
		{"kiam: a match of one line is not enough", map[string]string{kiam: "(?m)^app$"}, "arn:aws:iam::111122223333:role/x\napp", false},
		{"kiam: a name does not match a path", map[string]string{kiam: "app"}, teamRole, false},
		{"kiam: an empty expression permits nothing", map[string]string{kiam: ""}, appRole, false},
		{"kiam: an invalid expression permits nothing", map[string]string{kiam: "("}, appRole, false},
		{"kiam: an expression that parentheses around it would make valid", map[string]string{kiam: "x)|(.*"}, appRole, false},

		{"kube2iam: an ARN", map[string]string{kube2: `["` + appRole + `"]`}, appRole, true},
		{"kube2iam: an ARN with a star", map[string]string{kube2: `["arn:aws:iam::111122223333:role/team/*"]`}, teamRole, true},
		{"kube2iam: a name", map[string]string{kube2: "[\"other\", \"app\"]\n"}, appRole, true},
		{"kube2iam: a name with a star", map[string]string{kube2: `["a*"]`}, appRole, true},
		{"kube2iam: a path with a star", map[string]string{kube2: `["team/*"]`}, teamRole, true},
		{"kube2iam: everything", map[string]string{kube2: `["*"]`}, teamRole, true},
		{"kube2iam: another", map[string]string{kube2: `["b*"]`}, appRole, false},
		{"kube2iam: a regular expression permits too little", map[string]string{kube2: `["team/.*"]`}, teamRole, false},
		{"kube2iam: invalid JSON permits nothing", map[string]string{kube2: "app"}, appRole, false},
		{"kube2iam: null permits nothing", map[string]string{kube2: "null"}, appRole, false},
		{"kube2iam: an empty policy permits nothing", map[string]string{kube2: ""}, appRole, false},

		{"the policy of kube2iam is enough", map[string]string{kiam: "x", kube2: `["app"]`}, appRole, true},
		{"the policy of kiam is enough", map[string]string{kiam: "app", kube2: "["}, appRole, true},
		{"neither kiam nor kube2iam permits the role", map[string]string{kiam: "x", kube2: `["x"]`}, appRole, false},
		{"permitted-roles overrides the others", map[string]string{ours: "x", kiam: ".*", kube2: `["*"]`}, appRole, false},
		{"an invalid permitted-roles overrides the others", map[string]string{ours: "[", kiam: ".*"}, appRole, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, mode := range []rolepolicy.Mode{rolepolicy.On, rolepolicy.Require} {
				err := evaluate(mode, test.annotations, test.role)
				if (err == nil) != test.permitted {
					t.Fatalf("%s: got %v", mode, err)
				}
				if denied, ok := errors.AsType[*rolepolicy.DeniedError](err); err != nil && (!ok || denied.Role != test.role || denied.Namespace != "team-a") {
					t.Errorf("%s: got %#v", mode, err)
				}
			}
		})
	}
}

func TestDeniedError_message(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		want        string
	}{
		{
			"a policy is required", nil,
			`role "` + appRole + `" is not permitted in namespace team-a: the namespace has no annotation eks.amazonaws.com/permitted-roles, which --role-policy=require needs; ask the owner of the namespace to add it`,
		},
		{
			"another role",
			map[string]string{ours: `["other"]`},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation eks.amazonaws.com/permitted-roles is "[\"other\"]"; use a role that it permits, or ask the owner of the namespace to add this role`,
		},
		{
			"not a list",
			map[string]string{kube2: "app"},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation iam.amazonaws.com/allowed-roles is "app", which permits no role (not a JSON list of strings); ask the owner of the namespace to fix it`,
		},
		{
			"not an expression",
			map[string]string{kiam: "("},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation iam.amazonaws.com/permitted is "(", which permits no role (invalid regular expression: missing closing )); ask the owner of the namespace to fix it`,
		},
		{
			"empty",
			map[string]string{ours: "[]"},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation eks.amazonaws.com/permitted-roles is "[]", which permits no role (empty policy); ask the owner of the namespace to fix it`,
		},
		{
			"two policies deny it",
			map[string]string{kiam: "x", kube2: `["y"]`},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation iam.amazonaws.com/permitted is "x"; use a role that it permits, or ask the owner of the namespace to add this role`,
		},
		{
			"a policy of 100,000 bytes",
			map[string]string{ours: strings.Repeat("x", 100_000)},
			`role "` + appRole + `" is not permitted in namespace team-a: its annotation eks.amazonaws.com/permitted-roles is "` + strings.Repeat("x", 200) + `"...; use a role that it permits, or ask the owner of the namespace to add this role`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := evaluate(rolepolicy.Require, test.annotations, appRole)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestParseMode(t *testing.T) {
	if err := evaluate(rolepolicy.Off, map[string]string{ours: "x"}, appRole); err != nil {
		t.Errorf("off: %v", err)
	}
	for _, none := range []map[string]string{nil, {"other": "annotation"}} {
		if err := evaluate(rolepolicy.On, none, appRole); err != nil {
			t.Errorf("on, without a policy: %v", err)
		}
		if err := evaluate(rolepolicy.Require, none, appRole); err == nil {
			t.Error("require, without a policy: permitted")
		}
	}
	for _, mode := range []rolepolicy.Mode{rolepolicy.Off, rolepolicy.On, rolepolicy.Require} {
		if got, err := rolepolicy.ParseMode(string(mode)); got != mode || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for _, unknown := range []string{"", "deny", "On"} {
		if got, err := rolepolicy.ParseMode(unknown); err == nil {
			t.Errorf("ParseMode(%q): got %q, want an error", unknown, got)
		}
	}
}

func TestAnnotations_prefix(t *testing.T) {
	annotations := map[string]string{"example.com/permitted-roles": "other", ours: "*"}
	if err := rolepolicy.Evaluate(rolepolicy.On, "example.com", "team-a", annotations, appRole); err == nil {
		t.Error("annotation with prefix example.com: role permitted, want denied")
	}
	if err := rolepolicy.Evaluate(rolepolicy.On, "example.com", "team-a", map[string]string{kiam: "x"}, appRole); err == nil {
		t.Error("annotation of kiam: role permitted, want denied")
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(`["*"]`, ".*", `["app"]`, appRole)
	f.Add("a,b", "(", "", "app")
	f.Add("*a**b*", "", "[", "x")
	f.Add("\"a\n", "x)|(.*", "[null]", "arn:aws:iam::111122223333:role/")
	f.Fuzz(func(t *testing.T, policy, expression, list, role string) {
		all := map[string]string{ours: policy, kiam: expression, kube2: list}
		for _, annotations := range []map[string]string{all, {kiam: expression}, {kube2: list}, {ours: policy}, nil} {
			if err := evaluate(rolepolicy.Off, annotations, role); err != nil {
				t.Errorf("off: %v", err)
			}
			// %q writes at most 4 bytes per byte.
			if err := evaluate(rolepolicy.On, annotations, role); err != nil && len(err.Error()) > 4*(613+200)+400 {
				t.Errorf("got a message of %d bytes", len(err.Error()))
			}
			if on, require := evaluate(rolepolicy.On, annotations, role), evaluate(rolepolicy.Require, annotations, role); len(annotations) > 0 && (on == nil) != (require == nil) {
				t.Errorf("with a policy the modes differ: on: %v, require: %v", on, require)
			}
		}
		all[ours] = "*"
		if err := evaluate(rolepolicy.Require, all, role); err != nil {
			t.Errorf("policy *: got %v, want the role permitted", err)
		}
		if err := evaluate(rolepolicy.Require, nil, role); err == nil {
			t.Error("require without a policy: role permitted, want denied")
		}
	})
}
