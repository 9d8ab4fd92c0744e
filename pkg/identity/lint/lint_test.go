package lint_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

const (
	prefix  = "eks.amazonaws.com"
	appRole = "arn:aws:iam::111122223333:role/app"
)

var rules = lint.Rules{Prefix: prefix}

func TestAccount(t *testing.T) {
	const invalid, warning = true, false
	tests := []struct {
		name, annotation, value string
		// message is a part of the only finding, or "" if there is none.
		message string
		invalid bool
	}{
		{"valid ARN", "role-arn", appRole, "", warning},
		{"role with a path, in another partition", "role-arn", "arn:aws-us-gov:iam::111122223333:role/team/app", "", warning},
		{"space after the role", "role-arn", appRole + " ", "spaces around", invalid},
		{"line break after the role", "role-arn", appRole + "\n", "spaces around", invalid},
		{"space in the role", "role-arn", "arn:aws:iam::111122223333:role/my app", "spaces in", invalid},
		{"quotes around the role", "role-arn", `"` + appRole + `"`, "quotes", invalid},
		{"session", "role-arn", "arn:aws:sts::111122223333:assumed-role/app/session", "a session's", invalid},
		{"user", "role-arn", "arn:aws:iam::111122223333:user/app", "a user's", invalid},
		{"instance profile", "role-arn", "arn:aws:iam::111122223333:instance-profile/app", "an instance profile's", invalid},
		{"bucket", "role-arn", "arn:aws:s3:::bucket", "not an ARN of IAM", invalid},
		{"incomplete ARN", "role-arn", "arn:aws:iam", "incomplete ARN", invalid},
		{"only arn:", "role-arn", "arn:", "not a role of AWS", warning},
		{"no name", "role-arn", "arn:aws:iam::111122223333:role/", "ends in a slash", invalid},
		{"path without a name", "role-arn", appRole + "/", "ends in a slash", invalid},
		{"region", "role-arn", "arn:aws:iam:eu-west-1:111122223333:role/app", "region", invalid},
		{"no role/", "role-arn", "arn:aws:iam::111122223333:app", "no role/", invalid},
		{"uppercase role/", "role-arn", "arn:aws:iam::111122223333:Role/app", "no role/", invalid},
		{"account ID with 3 digits", "role-arn", "arn:aws:iam::123:role/app", "12-digit", invalid},
		{"account ID with 13 digits", "role-arn", "arn:aws:iam::1111222233334:role/app", "12-digit", invalid},
		{"placeholder for the account ID", "role-arn", "arn:aws:iam::${ACCOUNT_ID}:role/app", "12-digit", invalid},
		{"no account ID", "role-arn", "arn:aws:iam:::role/app", "12-digit", invalid},
		{"invalid character", "role-arn", "arn:aws:iam::111122223333:role/a*", "invalid character", invalid},
		{"text before the ARN", "role-arn", "role=" + appRole, "does not start with arn:", invalid},
		{"bare name, not composed", "role-arn", "app", "is not an ARN", invalid},
		{"empty role", "role-arn", "", "no role is injected", warning},
		{"role of MinIO", "role-arn", "arn:minio:iam:::role/dummy", "not a role of AWS", warning},
		{"valid audience", "audience", "sts.amazonaws.com", "", warning},
		{"custom audience", "audience", "https://sts.example.com", "", warning},
		{"URL of AWS", "audience", "https://sts.amazonaws.com", "AWS expects sts.amazonaws.com", warning},
		{"space before the audience", "audience", " sts.amazonaws.com", "spaces around", invalid},
		{"two audiences", "audience", "sts.amazonaws.com other", "one audience", warning},
		{"empty audience", "audience", "", "the default is used", warning},
		{"true", "sts-regional-endpoints", "true", "", warning},
		{"yes", "sts-regional-endpoints", "yes", "neither true nor false", invalid},
		{"empty boolean", "sts-regional-endpoints", "", "the default is used", warning},
		{"valid expiration", "token-expiration", "3600", "", warning},
		{"duration with a unit", "token-expiration", "1h", "not a number of seconds", invalid},
		{"fraction of a second", "token-expiration", "3600.5", "not a number of seconds", invalid},
		{"minimum expiration", "token-expiration", "600", "", warning},
		{"expiration below the minimum", "token-expiration", "599", "outside 600..86400", warning},
		{"maximum expiration", "token-expiration", "86400", "", warning},
		{"expiration above the maximum", "token-expiration", "86401", "outside", warning},
		{"empty expiration", "token-expiration", "", "the default is used", warning},
		{"pod-name as session name", "role-session-name", "pod-name", "", warning},
		{"session name with a space", "role-session-name", "a b", "2 to 64", invalid},
		{"session name too short", "role-session-name", "a", "2 to 64", invalid},
		{"session name too long", "role-session-name", strings.Repeat("a", 65), "2 to 64", invalid},
		{"endpoint URL", "sts-endpoint", "https://sts.example.com:8443", "", warning},
		{"host name as endpoint", "sts-endpoint", "sts.example.com", "not a URL", invalid},
		{"empty endpoint", "sts-endpoint", "", "the default is used", warning},
		{"target role without a role", "target-role-arn", appRole, "requires role-arn", warning},
		{"maximum length of a role name", "role-arn", "arn:aws:iam::111122223333:role/team/" + strings.Repeat("a", 64), "", warning},
		{"role name too long", "role-arn", "arn:aws:iam::111122223333:role/team/" + strings.Repeat("a", 65), "over 64", invalid},
		{"host name of a region's STS as audience", "audience", "sts.eu-west-1.amazonaws.com", "AWS expects", warning},
		{"URL of a region's STS as audience", "audience", "https://sts.eu-west-1.amazonaws.com", "AWS expects", warning},
		{"audience of kOps", "audience", "amazonaws.com", "", warning},
		{"URL of another STS as audience", "audience", "https://sts.example.com", "", warning},
		{"empty list of containers", "skip-containers", "", "put it on the pods", warning},
		{"invalid target role", "target-role-arn", "x", "is not an ARN", invalid},
		{"external ID without a target role", "target-external-id", "the-id", "requires target-role-arn", warning},
		{"external ID with a space", "target-external-id", "the id", "2 to 1224", invalid},
		{"external ID too long", "target-external-id", strings.Repeat("x", 1225), "2 to 1224", invalid},
		{"empty external ID", "target-external-id", "", "no external ID is sent", warning},
		{"skip-containers on a ServiceAccount", "skip-containers", "a", "put it on the pods", invalid},
		{"include-containers on a ServiceAccount", "include-containers", "a", "put it on the pods", invalid},
		{"annotation of an EKS add-on", "component", "coredns", "", warning},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			findings := lint.Account(map[string]string{prefix + "/" + test.annotation: test.value, "other": "annotation"}, rules)
			if test.message == "" {
				if len(findings) != 0 {
					t.Errorf("got %+v", findings)
				}
				return
			}
			if len(findings) != 1 {
				t.Fatalf("got %d findings, want 1: %+v", len(findings), findings)
			}
			got := findings[0]
			if !strings.Contains(got.Message, test.message) || got.Invalid != test.invalid || got.Value != test.value {
				t.Errorf("got %+v", got)
			}
			if got.Annotation != prefix+"/"+test.annotation || !strings.HasPrefix(got.Message, got.Annotation) {
				t.Errorf("got %+v, want the full key", got)
			}
			// API servers truncate warnings to 120 characters, which include a prefix.
			if limit := 120 - len("pod-identity-webhook: "); test.annotation != "target-role-arn" && len(got.Message) > limit {
				t.Errorf("got %q with %d characters, want at most %d", got.Message, len(got.Message), limit)
			}
			if test.value != "" && len(test.value) < 50 && !strings.Contains(got.String(), fmt.Sprintf("%q", test.value)) {
				t.Errorf("got %s, want %q in it", got, test.value)
			}
		})
	}
}

func TestAccount_externalIDWithoutTarget(t *testing.T) {
	annotations := map[string]string{
		prefix + "/role-arn": appRole, prefix + "/target-role-arn": appRole, prefix + "/target-external-id": `a+=,.@:/-_9`,
	}
	if got := lint.Account(annotations, rules); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestAccount_otherSTS checks roles of systems with other rules than AWS. The endpoint is from the
// annotation, or else from the flag.
func TestAccount_otherSTS(t *testing.T) {
	const ceph, minio, aws = "https://rgw.example.com", "https://minio.storage.svc:9000", "https://vpce-0a.sts.eu-west-1.vpce.amazonaws.com"
	for _, test := range []struct {
		role, annotation, flag string
		// message is a part of the only finding, or "" if there is none.
		message string
		invalid bool
	}{
		{"arn:aws:iam:::role/S3Access", ceph, "", "", false},
		{"arn:aws:iam:::role/S3Access", "", ceph, "", false},
		{"arn:aws:iam::RGW12345678901234567:role/app", ceph, "", "", false},
		{"arn:minio:iam:::role/dummy-internal", minio, "", "", false},
		{appRole, ceph, "", "", false},
		{"arn:aws:iam:::role/S3Access", "", "", "12-digit", true},
		{"arn:aws:iam:::role/S3Access", aws, ceph, "12-digit", true},
		{"arn:aws:iam::RGW12345678901234567:role/app", "", aws, "12-digit", true},
		{"arn:minio:iam:::role/dummy-internal", "", "", "not a role of AWS", false},
		{"arn:aws:iam:::role/S3Access", "not a URL", "", "12-digit", true},
		{"arn:aws:iam:::user/S3Access", ceph, "", "a user's", true},
		{"arn:aws:sts:::assumed-role/S3Access/x", ceph, "", "a session's", true},
		{"arn:aws:iam:::role/", ceph, "", "ends in a slash", true},
		{"arn:aws:iam:::S3Access", ceph, "", "no role/", true},
		{"arn:aws:iam:::role/S3 Access", ceph, "", "spaces in it", true},
		{"arn:aws:iam:::role/S3Access\n", ceph, "", "spaces around", true},
		{"S3Access", ceph, "", "is not an ARN", true},
	} {
		annotations := map[string]string{}
		for _, name := range []string{"role-arn", "target-role-arn"} {
			annotations[prefix+"/"+name] = test.role
		}
		if test.annotation != "" {
			annotations[prefix+"/sts-endpoint"] = test.annotation
		}
		var got []lint.Finding
		for _, finding := range lint.Account(annotations, lint.Rules{Prefix: prefix, STSEndpoint: test.flag}) {
			if finding.Annotation != prefix+"/sts-endpoint" {
				got = append(got, finding)
			}
		}
		switch {
		case test.message == "" && len(got) == 0:
		case test.message == "" || len(got) != 2:
			t.Errorf("%s at %q, flag %q: got %+v, want %q twice", test.role, test.annotation, test.flag, got, test.message)
		case !strings.Contains(got[0].Message, test.message) || got[0].Invalid != test.invalid || got[1].Invalid != test.invalid:
			t.Errorf("%s at %q, flag %q: got %+v, want %q, invalid %t", test.role, test.annotation, test.flag, got, test.message, test.invalid)
		}
	}
}

func TestAccount_bareRoleName(t *testing.T) {
	for value, message := range map[string]string{
		"app": "", "team/app": "", "/team/app": "",
		"a*":                               "is not a valid role name",
		"team/":                            "is not a valid role name",
		"ARN:AWS:IAM":                      "is not a valid role name",
		"role/app":                         "adds again",
		"arn:aws:iam::123:role/app":        "12-digit",
		"arn:aws:iam::1111:user/app":       "a user's",
		"aws:arn:iam::111122223333:role/a": "does not start with arn:",
	} {
		findings := lint.Account(map[string]string{prefix + "/role-arn": value}, lint.Rules{Prefix: prefix, Composes: true})
		switch {
		case message == "" && len(findings) != 0:
			t.Errorf("%s: got %+v", value, findings)
		case message != "" && (len(findings) != 1 || !strings.Contains(findings[0].Message, message)):
			t.Errorf("%s: got %+v, want %s", value, findings, message)
		}
	}
}

func TestMisspelled(t *testing.T) {
	for key, name := range map[string]string{
		"eks.amazon.com/role-arn":                 "role-arn",
		"eks.aws.com/role-arn":                    "role-arn",
		"iam.amazonaws.com/role-arn":              "role-arn",
		"amazonaws.com/role-arn":                  "role-arn",
		"eks.amazonaws.com.role-arn":              "role-arn",
		"EKS.amazonaws.com/role-arn":              "role-arn",
		"eks.amazonaws.com_role-arn":              "role-arn",
		"eks.amazonaws.com-role-arn":              "role-arn",
		"eks-amazonaws-com/role-arn":              "role-arn",
		"eksamazonaws.com/role-arn":               "role-arn",
		"eks.amazonaw.com/role-arn":               "role-arn",
		"esk.amazonaws.com/role-arn":              "role-arn",
		"eks.amazonaws.com/role-anr":              "role-arn",
		"eks.amazonaws.com/rol-arn":               "role-arn",
		"eks.amazonaws.com/audiance":              "audience",
		"eks.amazonaws.com/role_arn":              "role-arn",
		"eks.amazonaws.com/rolearn":               "role-arn",
		"eks.amazonaws.com/roleArn":               "role-arn",
		"eks.amazonaws.com/role-ARN":              "role-arn",
		"eks.amazonaws.com/role.arn":              "role-arn",
		"eks.amazonaws.com/iam-role-arn":          "role-arn",
		"eks.amazonaws.com/token_expiration":      "token-expiration",
		"eks.amazonaws.com/sts-regional-endpoint": "sts-regional-endpoints",
		"eks.amazonaws.com/skip-container":        "skip-containers",
		"eks.amazon.com/include_container":        "include-containers",
		"eks.amazonaws.com/role-sessionname":      "role-session-name",
		"iam.amazonaws.com/role":                  "role-arn",
		"role-arn":                                "role-arn",
		"role_arn":                                "role-arn",
	} {
		findings := lint.Misspelled(map[string]string{key: appRole}, prefix)
		if len(findings) != 1 {
			t.Errorf("%s: got %+v", key, findings)
			continue
		}
		got := findings[0]
		if got.Invalid || got.Annotation != key || got.SuggestedKey != prefix+"/"+name || !strings.Contains(got.Message, key) || !strings.Contains(got.Message, got.SuggestedKey) {
			t.Errorf("%s: got %+v, want %s", key, got, name)
		}
	}
}

func TestMisspelled_kube2iam(t *testing.T) {
	findings := lint.Misspelled(map[string]string{"iam.amazonaws.com/role": "app"}, prefix)
	if len(findings) != 1 || !strings.Contains(findings[0].Message, "kube2iam") || !strings.Contains(findings[0].Message, "on the ServiceAccount") {
		t.Errorf("got %+v", findings)
	}
}

// unrelated returns annotations without mistakes.
func unrelated() map[string]string {
	return map[string]string{
		prefix + "/skip-containers": "a", prefix + "/include-containers": "b",
		prefix + "/token-expiration": "3600", prefix + "/role-session-name": "pod-name",
		prefix + "/aws-config": "x", prefix + "/permitted-roles": "*", prefix + "/skip-pod-identity-webhook": "true",
		prefix + "/component": "coredns", prefix + "/compute-type": "ec2", prefix + "/capacityType": "SPOT",
		prefix + "/nodegroup": "a", prefix + "/nodegroup-image": "ami-1", prefix + "/sourceLaunchTemplateId": "lt-1",
		prefix + "/sourceLaunchTemplateVersion": "1", prefix + "/fargate-profile": "a",
		"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat("{}", 500),
		"kubernetes.io/config.hash":                        "1", "prometheus.io/scrape": "true", "checksum/config": "1",
		"iam.amazonaws.com/permitted": ".*", "iam.amazonaws.com/allowed-roles": "[]",
		"example.com/role-arn": appRole, "vault.hashicorp.com/role": "app", "role": "worker", "audience": "all",
		"vpcresources.k8s.aws/security-groups": "sg-1", "argocd.argoproj.io/sync-wave": "1", "a.": "", "": "", "/": "", ".": "",
	}
}

func TestMisspelled_unrelatedAnnotations(t *testing.T) {
	annotations := unrelated()
	for _, name := range []string{"role-arn", "audience", "sts-regional-endpoints", "sts-endpoint", "target-role-arn", "target-external-id"} {
		annotations[prefix+"/"+name] = "x"
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if got := lint.Misspelled(map[string]string{key: annotations[key]}, prefix); len(got) != 0 {
			t.Errorf("%q: got %+v", key, got)
		}
	}
}

func TestMisspelled_intendedKeyPresent(t *testing.T) {
	annotations := map[string]string{"iam.amazonaws.com/role": "app", prefix + "/role-arn": appRole}
	if got := lint.Misspelled(annotations, prefix); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMisspelled_eksPrefix(t *testing.T) {
	if got := lint.Misspelled(map[string]string{prefix + "/role-arn": appRole}, "irsa.example.com"); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMisspelled_similarPrefixes(t *testing.T) {
	const own = "irsa-a.example.com"
	for key, want := range map[string]string{
		"irsa-b.example.com/role-arn": "", own + "/role-arn": "", own + "/other": "",
		own + "/role_arn": own + "/role-arn", own + "/rol-arn": own + "/role-arn", own + "_role-arn": own + "/role-arn",
	} {
		findings := lint.Misspelled(map[string]string{key: "x"}, own)
		if want == "" && len(findings) != 0 || want != "" && (len(findings) != 1 || findings[0].SuggestedKey != want) {
			t.Errorf("%s: got %+v, want %q", key, findings, want)
		}
	}
}

func TestMisspelled_limit(t *testing.T) {
	annotations := map[string]string{}
	for i := range 100 {
		annotations[prefix+"/role"+strings.Repeat("_", i+1)+"arn"] = appRole
	}
	if got := lint.Misspelled(annotations, prefix); len(got) != 20 {
		t.Errorf("got %d findings, want 20", len(got))
	}
}

func TestPod_serviceAccountAnnotations(t *testing.T) {
	for _, name := range []string{"role-arn", "audience", "sts-regional-endpoints", "sts-endpoint", "target-role-arn", "target-external-id"} {
		annotations := unrelated()
		annotations[prefix+"/"+name] = "x"
		findings := lint.Pod(annotations, prefix, "app")
		want := lint.Finding{
			Annotation: prefix + "/" + name, Value: "x",
			Message: prefix + "/" + name + " has no effect on a pod: put it on its ServiceAccount app",
		}
		if len(findings) != 1 || findings[0] != want {
			t.Errorf("got %+v, want %+v", findings, want)
		}
	}
}

func TestPod_misspelled(t *testing.T) {
	findings := lint.Pod(map[string]string{prefix + "/role-arn": appRole, prefix + "/skip-container": "a"}, prefix, "")
	if len(findings) != 2 || findings[0].Annotation != prefix+"/role-arn" || findings[1].SuggestedKey != prefix+"/skip-containers" {
		t.Errorf("got %+v", findings)
	}
}

func TestPod_noAllocations(t *testing.T) {
	annotations := unrelated()
	if allocations := testing.AllocsPerRun(100, func() {
		if lint.Pod(annotations, prefix, "app") != nil {
			t.Error("got findings, want none")
		}
	}); allocations != 0 {
		t.Errorf("got %v allocations, want 0", allocations)
	}
}

func BenchmarkPod(b *testing.B) {
	annotations := unrelated()
	b.ReportAllocs()
	for b.Loop() {
		lint.Pod(annotations, prefix, "app")
	}
}

func FuzzAccount(f *testing.F) {
	f.Add("role-arn", "arn:aws:iam::123:role/x")
	f.Add("role-arn", "arn:aws")
	f.Add("role-arn", strings.Repeat("ü", 100))
	f.Add("token-expiration", "-1")
	f.Add("role_arn", "\xff")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, name, value string) {
		prefixed, unprefixed := map[string]string{prefix + "/" + name: value}, map[string]string{name: value}
		for _, findings := range [][]lint.Finding{
			lint.Account(prefixed, rules), lint.Account(prefixed, lint.Rules{Prefix: prefix, Composes: true}), lint.Pod(prefixed, prefix, "app"),
			lint.Account(unprefixed, rules), lint.Pod(unprefixed, prefix, "app"),
		} {
			for _, finding := range findings {
				// A value or a key is truncated to 50 bytes. Quoting makes at most 4 bytes of each.
				if limit := 600; len(finding.String()) > limit {
					t.Errorf("got %d bytes: %s", len(finding.String()), finding)
				}
				if !utf8.ValidString(finding.String()) && utf8.ValidString(name) {
					t.Errorf("got invalid UTF-8 %q", finding.String())
				}
			}
		}
	})
}
