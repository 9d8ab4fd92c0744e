package identity_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

const validRole = "arn:aws:iam::111122223333:role/app"

var defaults = identity.Defaults{
	AnnotationPrefix:  "eks.amazonaws.com",
	Audience:          "sts.amazonaws.com",
	ExpirationSeconds: 86400,
}

func TestFromAnnotations(t *testing.T) {
	problem := func(annotation, value, message, fallback string) []identity.AnnotationWarning {
		return []identity.AnnotationWarning{{Annotation: "eks.amazonaws.com/" + annotation, Value: value, Message: message, Fallback: fallback}}
	}
	tests := []struct {
		name        string
		annotations map[string]string
		change      func(*identity.Defaults)
		want        *identity.Identity
	}{
		{name: "no annotations", want: &identity.Identity{Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}},
		{
			name:        "empty role",
			annotations: map[string]string{"role-arn": "", "audience": "x"},
			want:        &identity.Identity{Audience: "x", ExpirationSeconds: 86400},
		},
		{
			name:        "role with defaults",
			annotations: map[string]string{"role-arn": validRole},
			want:        &identity.Identity{RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name: "all annotations",
			annotations: map[string]string{
				"role-arn": validRole, "audience": "sts.example.com", "sts-regional-endpoints": "true", "token-expiration": "7200",
			},
			want: &identity.Identity{RoleARN: validRole, Audience: "sts.example.com", RegionalSTS: true, ExpirationSeconds: 7200},
		},
		{
			name:        "empty audience, default",
			annotations: map[string]string{"role-arn": validRole, "audience": ""},
			want:        &identity.Identity{RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name:        "false overrides the default",
			annotations: map[string]string{"role-arn": validRole, "sts-regional-endpoints": "false"},
			change:      func(d *identity.Defaults) { d.RegionalSTS = true },
			want:        &identity.Identity{RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name:        "invalid boolean, default and warning",
			annotations: map[string]string{"role-arn": validRole, "sts-regional-endpoints": "yes"},
			change:      func(d *identity.Defaults) { d.RegionalSTS = true },
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, RegionalSTS: true,
				Problems: problem("sts-regional-endpoints", "yes", "is neither true nor false", "true is used"),
			},
		},
		{
			name:        "expiration below the minimum, minimum and warning",
			annotations: map[string]string{"role-arn": validRole, "token-expiration": "599"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 600,
				Problems: problem("token-expiration", "599", "is outside 600..86400 seconds", "600 is used"),
			},
		},
		{
			name:        "expiration above the maximum, maximum and warning",
			annotations: map[string]string{"role-arn": validRole, "token-expiration": "4294967297"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 1 << 32,
				Problems: problem("token-expiration", "4294967297", "is outside 600..86400 seconds", "4294967296 is used"),
			},
		},
		{
			name:        "expiration not a number, default and warning",
			annotations: map[string]string{"role-arn": validRole, "token-expiration": "1h"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("token-expiration", "1h", "is not a number of seconds", "86400 is used"),
			},
		},
		{
			name:        "invalid ARN, unchanged and warning",
			annotations: map[string]string{"role-arn": "arn:minio:iam:::role/dummy"},
			want: &identity.Identity{
				RoleARN: "arn:minio:iam:::role/dummy", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("role-arn", "arn:minio:iam:::role/dummy", "is not a valid ARN of an IAM role", "injected unchanged"),
			},
		},
		{
			name:        "another prefix",
			annotations: map[string]string{"role-arn": validRole},
			change:      func(d *identity.Defaults) { d.AnnotationPrefix = "irsa.example.com" },
			want:        &identity.Identity{Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		},
		{
			name: "session name, endpoint and target role",
			annotations: map[string]string{
				"role-arn": validRole, "role-session-name": "pod-name", "sts-endpoint": "https://sts.example.com",
				"target-role-arn": validRole + "2", "target-external-id": "the-id",
			},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				SessionName: "pod-name", STSEndpoint: "https://sts.example.com", TargetRoleARN: validRole + "2", TargetExternalID: "the-id",
			},
		},
		{
			name:        "invalid session name, default and warning",
			annotations: map[string]string{"role-arn": validRole, "role-session-name": "a b"},
			change:      func(d *identity.Defaults) { d.SessionName = "pod-name" },
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, SessionName: "pod-name",
				Problems: problem("role-session-name", "a b", "is not a valid session name for STS", `"pod-name" is used`),
			},
		},
		{
			name:        "invalid endpoint, default and warning",
			annotations: map[string]string{"role-arn": validRole, "sts-endpoint": "sts.example.com"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("sts-endpoint", "sts.example.com", "is not a valid endpoint URL", "ignored"),
			},
		},
		{
			name:        "line break in the external ID, ignored",
			annotations: map[string]string{"role-arn": validRole, "target-role-arn": validRole, "target-external-id": "x\nregion = y"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400, TargetRoleARN: validRole,
				Problems: problem("target-external-id", "x\nregion = y", "has a control character", "ignored"),
			},
		},
		{
			name:        "skip-containers, ignored and warning",
			annotations: map[string]string{"role-arn": validRole, "skip-containers": "a"},
			want: &identity.Identity{
				RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400,
				Problems: problem("skip-containers", "a", "belongs on a pod", "ignored on a ServiceAccount"),
			},
		},
		{
			name:        "bare role name, account set",
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
	for role, want := range map[string]bool{
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
			t.Errorf("%q: got %+v, want the unchanged role", role, found)
			continue
		}
		if got := len(found.Problems) == 0; got != want {
			t.Errorf("%q: got valid %t, want %t", role, got, want)
		}
	}
}

func TestAnnotationWarning_truncatesValue(t *testing.T) {
	problem := identity.AnnotationWarning{Annotation: "a", Value: strings.Repeat("x", 10_000), Message: "is invalid", Fallback: "b is used"}
	if got := problem.String(); len(got) > 120 {
		t.Errorf("got %d bytes, want at most 120: %s", len(got), got)
	}
}

func FuzzFromAnnotations(f *testing.F) {
	f.Add(validRole, "sts.amazonaws.com", "true", "600")
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
			t.Fatalf("role %q: got %+v", role, got)
		}
		if got.Audience == "" {
			t.Error("got an empty audience")
		}
		if got.ExpirationSeconds != token.ClampExpiration(got.ExpirationSeconds) {
			t.Errorf("got an expiration of %d s, which the API server rejects", got.ExpirationSeconds)
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
