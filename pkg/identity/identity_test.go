package identity_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

const goodRole = "arn:aws:iam::111122223333:role/app"

var defaults = identity.Defaults{
	AnnotationPrefix:  "eks.amazonaws.com",
	Audience:          "sts.amazonaws.com",
	ExpirationSeconds: 86400,
}

func TestFromAnnotations(t *testing.T) {
	problem := func(annotation, value, fault, used string) []identity.AnnotationWarning {
		return []identity.AnnotationWarning{{Annotation: "eks.amazonaws.com/" + annotation, Value: value, Message: fault, Fallback: used}}
	}
	tests := []struct {
		name        string
		annotations map[string]string
		change      func(*identity.Defaults)
		want        *identity.Identity
	}{
		{name: "no annotations grant nothing", want: &identity.Identity{Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}},
		{
			name:        "an empty role grants nothing",
			annotations: map[string]string{"role-arn": "", "audience": "x"},
			want:        &identity.Identity{Audience: "x", ExpirationSeconds: 86400},
		},
		{
			name:        "a role takes the defaults",
			annotations: map[string]string{"role-arn": goodRole},
			want:        &identity.Identity{RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name: "each annotation is read",
			annotations: map[string]string{
				"role-arn": goodRole, "audience": "sts.example.com", "sts-regional-endpoints": "true", "token-expiration": "7200",
			},
			want: &identity.Identity{RoleARN: goodRole, Audience: "sts.example.com", RegionalSTS: true, ExpirationSeconds: 7200},
		},
		{
			name:        "an empty audience is the default, never the API server's own",
			annotations: map[string]string{"role-arn": goodRole, "audience": ""},
			want:        &identity.Identity{RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name:        "false beats a default of regional endpoints",
			annotations: map[string]string{"role-arn": goodRole, "sts-regional-endpoints": "false"},
			change:      func(d *identity.Defaults) { d.RegionalSTS = true },
			want:        &identity.Identity{RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name:        "what is no boolean is the default, and told",
			annotations: map[string]string{"role-arn": goodRole, "sts-regional-endpoints": "yes"},
			change:      func(d *identity.Defaults) { d.RegionalSTS = true },
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, RegionalSTS: true,
				Problems: problem("sts-regional-endpoints", "yes", "is neither true nor false", "true is used"),
			},
		},
		{
			name:        "an expiration below the API server's minimum is raised, and told",
			annotations: map[string]string{"role-arn": goodRole, "token-expiration": "599"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 600,
				Problems: problem("token-expiration", "599", "is outside 600..86400 seconds", "600 is used"),
			},
		},
		{
			name:        "an expiration above the API server's maximum is lowered, and told",
			annotations: map[string]string{"role-arn": goodRole, "token-expiration": "4294967297"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 1 << 32,
				Problems: problem("token-expiration", "4294967297", "is outside 600..86400 seconds", "4294967296 is used"),
			},
		},
		{
			name:        "an expiration that is no number is the default, and told",
			annotations: map[string]string{"role-arn": goodRole, "token-expiration": "1h"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("token-expiration", "1h", "is not a number of seconds", "86400 is used"),
			},
		},
		{
			name:        "a role that is no AWS ARN is granted, and told",
			annotations: map[string]string{"role-arn": "arn:minio:iam:::role/dummy"},
			want: &identity.Identity{
				RoleARN: "arn:minio:iam:::role/dummy", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("role-arn", "arn:minio:iam:::role/dummy", "cannot be the ARN of an IAM role", "injected as it is"),
			},
		},
		{
			name:        "annotations of another prefix are not read",
			annotations: map[string]string{"role-arn": goodRole},
			change:      func(d *identity.Defaults) { d.AnnotationPrefix = "irsa.example.com" },
			want:        &identity.Identity{Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name: "a session name, an endpoint and a target role are read",
			annotations: map[string]string{
				"role-arn": goodRole, "role-session-name": "pod-name", "sts-endpoint": "https://sts.example.com",
				"target-role-arn": goodRole + "2", "target-external-id": "the-id",
			},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				SessionName: "pod-name", STSEndpoint: "https://sts.example.com", TargetRoleARN: goodRole + "2", TargetExternalID: "the-id",
			},
		},
		{
			name:        "a bad session name is the default, and told",
			annotations: map[string]string{"role-arn": goodRole, "role-session-name": "a b"},
			change:      func(d *identity.Defaults) { d.SessionName = "pod-name" },
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, SessionName: "pod-name",
				Problems: problem("role-session-name", "a b", "is no session name for STS", `"pod-name" is used`),
			},
		},
		{
			name:        "a bad endpoint is the default, and told",
			annotations: map[string]string{"role-arn": goodRole, "sts-endpoint": "sts.example.com"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("sts-endpoint", "sts.example.com", "is no URL of an endpoint", `"" is used`),
			},
		},
		{
			name:        "a line break cannot get into a configuration file",
			annotations: map[string]string{"role-arn": goodRole, "target-role-arn": goodRole, "target-external-id": "x\nregion = y"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, TargetRoleARN: goodRole,
				Problems: problem("target-external-id", "x\nregion = y", "has a control character", "ignored"),
			},
		},
		{
			name:        "containers to skip are the pod's business, and told",
			annotations: map[string]string{"role-arn": goodRole, "skip-containers": "a"},
			want: &identity.Identity{
				RoleARN: goodRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("skip-containers", "a", "belongs on a pod", "ignored on a ServiceAccount"),
			},
		},
		{
			name:        "a bare name is made an ARN where the account is known",
			annotations: map[string]string{"role-arn": "/team/app"},
			change:      func(d *identity.Defaults) { d.Account = &identity.Account{Partition: "aws-cn", ID: "111122223333"} },
			want:        &identity.Identity{RoleARN: "arn:aws-cn:iam::111122223333:role/team/app", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			annotations := map[string]string{"unrelated": "value"}
			for key, value := range test.annotations {
				annotations["eks.amazonaws.com/"+key] = value
			}
			d := defaults
			if test.change != nil {
				test.change(&d)
			}
			test.want.Method = identity.WebIdentity
			if got := identity.FromAnnotations(annotations, d); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestIsRoleARN(t *testing.T) {
	for role, good := range map[string]bool{
		"arn:aws:iam::111122223333:role/app":                      true,
		"arn:aws-cn:iam::111122223333:role/app":                   true,
		"arn:aws-us-gov:iam::111122223333:role/team/a_b+c=d,e.@-": true,
		"arn:aws-iso-f:iam::111122223333:role/app":                true,
		"arn:aws:iam::11112222333:role/app":                       false,
		"arn:aws:iam::111122223333:user/app":                      false,
		"arn:aws:iam::111122223333:role/":                         false,
		"arn:aws:iam::111122223333:role/app/":                     false,
		"arn:aws:iam::111122223333:role/app\n":                    false,
		" arn:aws:iam::111122223333:role/app":                     false,
		"app":                                                     false,
	} {
		found := identity.FromAnnotations(map[string]string{"eks.amazonaws.com/role-arn": role}, defaults)
		if !found.IsSet() || found.RoleARN != role {
			t.Errorf("%q: not granted as it is: %+v", role, found)
			continue
		}
		if got := len(found.Problems) == 0; got != good {
			t.Errorf("%q: accepted without a problem: got %t, want %t", role, got, good)
		}
	}
}

func TestAnnotationWarning_truncatesValue(t *testing.T) {
	problem := identity.AnnotationWarning{Annotation: "a", Value: strings.Repeat("x", 10_000), Message: "is bad", Fallback: "b is used"}
	if got := problem.String(); len(got) > 120 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func FuzzFromAnnotations(f *testing.F) {
	f.Add(goodRole, "sts.amazonaws.com", "true", "600")
	f.Add("", "", "", "")
	f.Add("arn:aws:iam::1:role/x", "\xff", "yes", "-1")
	f.Add("x", "", "T", "99999999999999999999")
	f.Fuzz(func(t *testing.T, role, audience, sts, expiration string) {
		got := identity.FromAnnotations(map[string]string{
			"eks.amazonaws.com/role-arn":               role,
			"eks.amazonaws.com/audience":               audience,
			"eks.amazonaws.com/sts-regional-endpoints": sts,
			"eks.amazonaws.com/token-expiration":       expiration,
		}, defaults)
		if got.IsSet() != (role != "") {
			t.Fatalf("role %q grants %+v", role, got)
		}
		if got.Audience == "" {
			t.Error("the audience is empty: the token would be the API server's")
		}
		if got.ExpirationSeconds != token.ClampExpiration(got.ExpirationSeconds) {
			t.Errorf("the API server refuses an expiration of %d s", got.ExpirationSeconds)
		}
		for _, problem := range got.Problems {
			_ = problem.String()
		}
	})
}

func TestFromAnnotations_rolesOfOtherSTS(t *testing.T) {
	for endpoint, want := range map[string]int{"": 2, "https://sts.eu-west-1.amazonaws.com": 2, "https://rgw.example.com": 0} {
		id := identity.FromAnnotations(map[string]string{
			"eks.amazonaws.com/role-arn": "arn:aws:iam:::role/S3Access", "eks.amazonaws.com/target-role-arn": "arn:aws:iam:::role/Target",
			"eks.amazonaws.com/sts-endpoint": endpoint,
		}, defaults)
		if len(id.Problems) != want {
			t.Errorf("at %q: got %+v, want %d problems", endpoint, id.Problems, want)
		}
	}
}
