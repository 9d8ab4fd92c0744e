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
	const hard, soft = true, false
	tests := []struct {
		name, annotation, value string
		// message is part of the one finding, "" for none.
		message string
		invalid bool
	}{
		{"the ARN of a role is right", "role-arn", appRole, "", soft},
		{"a role may have a path, and be in another partition", "role-arn", "arn:aws-us-gov:iam::111122223333:role/team/app", "", soft},
		{"a space after the role is a mistake", "role-arn", appRole + " ", "spaces around", hard},
		{"a line break after the role is a mistake", "role-arn", appRole + "\n", "spaces around", hard},
		{"a space within the role is a mistake", "role-arn", "arn:aws:iam::111122223333:role/my app", "spaces in", hard},
		{"quotes around the role are a mistake", "role-arn", `"` + appRole + `"`, "quotes", hard},
		{"a session is no role", "role-arn", "arn:aws:sts::111122223333:assumed-role/app/session", "a session's", hard},
		{"a user is no role", "role-arn", "arn:aws:iam::111122223333:user/app", "a user's", hard},
		{"an instance profile is no role", "role-arn", "arn:aws:iam::111122223333:instance-profile/app", "an instance profile's", hard},
		{"a bucket is no role", "role-arn", "arn:aws:s3:::bucket", "no ARN of IAM", hard},
		{"half an ARN is a mistake", "role-arn", "arn:aws:iam", "not a whole ARN", hard},
		{"hardly an ARN is told as another's", "role-arn", "arn:", "no role of AWS", soft},
		{"a role without a name is a mistake", "role-arn", "arn:aws:iam::111122223333:role/", "ends in a slash", hard},
		{"a path without a name is a mistake", "role-arn", appRole + "/", "ends in a slash", hard},
		{"a region is a mistake", "role-arn", "arn:aws:iam:eu-west-1:111122223333:role/app", "region", hard},
		{"a role without role/ is a mistake", "role-arn", "arn:aws:iam::111122223333:app", "no role/", hard},
		{"a capital in role/ is a mistake", "role-arn", "arn:aws:iam::111122223333:Role/app", "no role/", hard},
		{"an account id of 3 digits is a mistake", "role-arn", "arn:aws:iam::123:role/app", "12-digit", hard},
		{"an account id of 13 digits is a mistake", "role-arn", "arn:aws:iam::1111222233334:role/app", "12-digit", hard},
		{"a place held for an account id is a mistake", "role-arn", "arn:aws:iam::${ACCOUNT_ID}:role/app", "12-digit", hard},
		{"no account id is a mistake", "role-arn", "arn:aws:iam:::role/app", "12-digit", hard},
		{"a letter that IAM refuses is a mistake", "role-arn", "arn:aws:iam::111122223333:role/a*", "a letter no role has", hard},
		{"text before the ARN is a mistake", "role-arn", "role=" + appRole, "does not begin with arn:", hard},
		{"a bare name is a mistake where none is composed", "role-arn", "app", "is no ARN", hard},
		{"no role at all may be meant", "role-arn", "", "gives no role", soft},
		{"a role of MinIO may be meant", "role-arn", "arn:minio:iam:::role/dummy", "no role of AWS", soft},
		{"an audience is right", "audience", "sts.amazonaws.com", "", soft},
		{"an audience of one's own is right", "audience", "https://sts.example.com", "", soft},
		{"a URL as AWS's audience is doubtful", "audience", "https://sts.amazonaws.com", "AWS expects sts.amazonaws.com", soft},
		{"a space before the audience is a mistake", "audience", " sts.amazonaws.com", "spaces around", hard},
		{"two audiences are doubtful", "audience", "sts.amazonaws.com other", "one audience", soft},
		{"an empty audience is doubtful", "audience", "", "the default is used", soft},
		{"true is right", "sts-regional-endpoints", "true", "", soft},
		{"yes is not taken for true", "sts-regional-endpoints", "yes", "neither true nor false", hard},
		{"an empty boolean is doubtful", "sts-regional-endpoints", "", "the default is used", soft},
		{"an expiration is right", "token-expiration", "3600", "", soft},
		{"a duration with a unit is a mistake", "token-expiration", "1h", "no number of seconds", hard},
		{"a fraction of a second is a mistake", "token-expiration", "3600.5", "no number of seconds", hard},
		{"the shortest expiration is right", "token-expiration", "600", "", soft},
		{"a shorter expiration is doubtful", "token-expiration", "599", "outside 600..86400", soft},
		{"the longest expiration is right", "token-expiration", "86400", "", soft},
		{"a longer expiration is doubtful", "token-expiration", "86401", "outside", soft},
		{"an empty expiration is doubtful", "token-expiration", "", "the default is used", soft},
		{"the pod's name may name the session", "role-session-name", "pod-name", "", soft},
		{"a session name with a space is a mistake", "role-session-name", "a b", "2 to 64", hard},
		{"a session name of one letter is a mistake", "role-session-name", "a", "2 to 64", hard},
		{"a session name of 65 letters is a mistake", "role-session-name", strings.Repeat("a", 65), "2 to 64", hard},
		{"a URL is right for an endpoint", "sts-endpoint", "https://sts.example.com:8443", "", soft},
		{"a host is no endpoint", "sts-endpoint", "sts.example.com", "no URL", hard},
		{"an empty endpoint is doubtful", "sts-endpoint", "", "the default is used", soft},
		{"a target role without a role is doubtful", "target-role-arn", appRole, "goes with role-arn", soft},
		{"the longest name of a role is right", "role-arn", "arn:aws:iam::111122223333:role/team/" + strings.Repeat("a", 64), "", soft},
		{"a name that is too long is a mistake", "role-arn", "arn:aws:iam::111122223333:role/team/" + strings.Repeat("a", 65), "over 64", hard},
		{"the address of a region's STS is no audience of AWS", "audience", "sts.eu-west-1.amazonaws.com", "AWS expects", soft},
		{"the URL of a region's STS is no audience of AWS", "audience", "https://sts.eu-west-1.amazonaws.com", "AWS expects", soft},
		{"the audience of kOps is right", "audience", "amazonaws.com", "", soft},
		{"the URL of another STS is right", "audience", "https://sts.example.com", "", soft},
		{"an empty list of containers is doubtful", "skip-containers", "", "put it on the pods", soft},
		{"a target role is judged as a role", "target-role-arn", "x", "is no ARN", hard},
		{"an external id without a target is doubtful", "target-external-id", "the-id", "goes with target-role-arn", soft},
		{"an external id with a space is a mistake", "target-external-id", "the id", "2 to 1224", hard},
		{"an external id that is too long is a mistake", "target-external-id", strings.Repeat("x", 1225), "2 to 1224", hard},
		{"an empty external id is doubtful", "target-external-id", "", "none is sent", soft},
		{"containers to skip are named on pods", "skip-containers", "a", "put it on the pods", hard},
		{"containers to include are named on pods", "include-containers", "a", "put it on the pods", hard},
		{"an annotation of EKS's add-ons is none of ours", "component", "coredns", "", soft},
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
				t.Fatalf("got %d findings: %+v", len(findings), findings)
			}
			got := findings[0]
			if !strings.Contains(got.Message, test.message) || got.Invalid != test.invalid || got.Value != test.value {
				t.Errorf("got %+v", got)
			}
			if got.Annotation != prefix+"/"+test.annotation || !strings.HasPrefix(got.Message, got.Annotation) {
				t.Errorf("got %+v, want the full key", got)
			}
			// A warning has 120 letters, and begins with whose it is.
			if longest := 120 - len("pod-identity-webhook: "); test.annotation != "target-role-arn" && len(got.Message) > longest {
				t.Errorf("%q has %d letters, of which a warning shows %d", got.Message, len(got.Message), longest)
			}
			if test.value != "" && len(test.value) < 50 && !strings.Contains(got.String(), fmt.Sprintf("%q", test.value)) {
				t.Errorf("%s does not show %q", got, test.value)
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

// TestAccount_otherSTS has the roles of systems whose rules are not AWS's. The endpoint
// is the annotation's, or else the flag's.
func TestAccount_otherSTS(t *testing.T) {
	const ceph, minio, aws = "https://rgw.example.com", "https://minio.storage.svc:9000", "https://vpce-0a.sts.eu-west-1.vpce.amazonaws.com"
	for _, test := range []struct {
		role, annotation, flag string
		// message is part of the one finding, "" for none.
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
		{"arn:minio:iam:::role/dummy-internal", "", "", "no role of AWS", false},
		{"arn:aws:iam:::role/S3Access", "not a URL", "", "12-digit", true},
		{"arn:aws:iam:::user/S3Access", ceph, "", "a user's", true},
		{"arn:aws:sts:::assumed-role/S3Access/x", ceph, "", "a session's", true},
		{"arn:aws:iam:::role/", ceph, "", "ends in a slash", true},
		{"arn:aws:iam:::S3Access", ceph, "", "no role/", true},
		{"arn:aws:iam:::role/S3 Access", ceph, "", "spaces in it", true},
		{"arn:aws:iam:::role/S3Access\n", ceph, "", "spaces around", true},
		{"S3Access", ceph, "", "is no ARN", true},
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
			t.Errorf("%s at %q, flag %q: got %+v, want %q, hard %t", test.role, test.annotation, test.flag, got, test.message, test.invalid)
		}
	}
}

func TestAccount_bareRoleName(t *testing.T) {
	for value, message := range map[string]string{
		"app": "", "team/app": "", "/team/app": "",
		"a*":                               "cannot be a role's name",
		"team/":                            "cannot be a role's name",
		"ARN:AWS:IAM":                      "cannot be a role's name",
		"role/app":                         "once more",
		"arn:aws:iam::123:role/app":        "12-digit",
		"arn:aws:iam::1111:user/app":       "a user's",
		"aws:arn:iam::111122223333:role/a": "does not begin with arn:",
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

// ordinary annotations are of pods and ServiceAccounts that have no mistake.
func ordinary() map[string]string {
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
	annotations := ordinary()
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
	const ours = "irsa-a.example.com"
	for key, meant := range map[string]string{
		"irsa-b.example.com/role-arn": "", ours + "/role-arn": "", ours + "/other": "",
		ours + "/role_arn": ours + "/role-arn", ours + "/rol-arn": ours + "/role-arn", ours + "_role-arn": ours + "/role-arn",
	} {
		findings := lint.Misspelled(map[string]string{key: "x"}, ours)
		if meant == "" && len(findings) != 0 || meant != "" && (len(findings) != 1 || findings[0].SuggestedKey != meant) {
			t.Errorf("%s: got %+v, want %q", key, findings, meant)
		}
	}
}

func TestMisspelled_limit(t *testing.T) {
	annotations := map[string]string{}
	for i := range 100 {
		annotations[prefix+"/role"+strings.Repeat("_", i+1)+"arn"] = appRole
	}
	if got := lint.Misspelled(annotations, prefix); len(got) != 20 {
		t.Errorf("got %d", len(got))
	}
}

func TestPod_serviceAccountAnnotations(t *testing.T) {
	for _, name := range []string{"role-arn", "audience", "sts-regional-endpoints", "sts-endpoint", "target-role-arn", "target-external-id"} {
		annotations := ordinary()
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
	annotations := ordinary()
	if allocations := testing.AllocsPerRun(100, func() {
		if lint.Pod(annotations, prefix, "app") != nil {
			t.Error("there are findings")
		}
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func BenchmarkPod(b *testing.B) {
	annotations := ordinary()
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
		ours, anybodys := map[string]string{prefix + "/" + name: value}, map[string]string{name: value}
		for _, findings := range [][]lint.Finding{
			lint.Account(ours, rules), lint.Account(ours, lint.Rules{Prefix: prefix, Composes: true}), lint.Pod(ours, prefix, "app"),
			lint.Account(anybodys, rules), lint.Pod(anybodys, prefix, "app"),
		} {
			for _, finding := range findings {
				// A value or a key is cut to 50 bytes, which are quoted as \xff at worst.
				if longest := 600; len(finding.String()) > longest {
					t.Errorf("%d bytes: %s", len(finding.String()), finding)
				}
				if !utf8.ValidString(finding.String()) && utf8.ValidString(name) {
					t.Errorf("%q is no UTF-8", finding.String())
				}
			}
		}
	})
}
