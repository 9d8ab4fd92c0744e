package lint_test

import (
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

const (
	prefix  = "eks.amazonaws.com"
	appRole = "arn:aws:iam::111122223333:role/app"
)

func TestAccount(t *testing.T) {
	const hard, soft = true, false
	tests := []struct {
		name, annotation, value string
		// message is part of the one finding, "" for none.
		message string
		hard    bool
	}{
		{"a role", "role-arn", appRole, "", soft},
		{"a role with a path in another partition", "role-arn", "arn:aws-us-gov:iam::111122223333:role/team/app", "", soft},
		{"spaces", "role-arn", appRole + " ", "spaces around", hard},
		{"quotes", "role-arn", `"` + appRole + `"`, "quotes", hard},
		{"a session", "role-arn", "arn:aws:sts::111122223333:assumed-role/app/session", "a session", hard},
		{"a user", "role-arn", "arn:aws:iam::111122223333:user/app", "something else than a role", hard},
		{"an instance profile", "role-arn", "arn:aws:iam::111122223333:instance-profile/app", "something else than a role", hard},
		{"a bucket", "role-arn", "arn:aws:s3:::bucket", "something else than a role", hard},
		{"a trailing slash", "role-arn", appRole + "/", "ends in a slash", hard},
		{"a region", "role-arn", "arn:aws:iam:eu-west-1:111122223333:role/app", "region", hard},
		{"no role/", "role-arn", "arn:aws:iam::111122223333:app", "lacks role/", hard},
		{"a short account id", "role-arn", "arn:aws:iam::123:role/app", "12 digits", hard},
		{"no account id", "role-arn", "arn:aws:iam:::role/app", "12 digits", hard},
		{"a bare name", "role-arn", "app", "is no ARN", hard},
		{"nothing", "role-arn", "", "is empty", soft},
		{"a role of MinIO", "role-arn", "arn:minio:iam:::role/dummy", "no role of AWS", soft},
		{"an audience", "audience", "sts.amazonaws.com", "", soft},
		{"a URL as audience", "audience", "https://sts.amazonaws.com", "AWS expects sts.amazonaws.com", soft},
		{"spaces in the audience", "audience", " sts.amazonaws.com", "spaces around", hard},
		{"an empty audience", "audience", "", "the default is used", soft},
		{"a boolean", "sts-regional-endpoints", "true", "", soft},
		{"no boolean", "sts-regional-endpoints", "yes", "neither true nor false", hard},
		{"an expiration", "token-expiration", "3600", "", soft},
		{"a duration", "token-expiration", "1h", "no number of seconds", hard},
		{"a short expiration", "token-expiration", "599", "outside", soft},
		{"a long expiration", "token-expiration", "86401", "outside", soft},
		{"the pod's name for the session", "role-session-name", "pod-name", "", soft},
		{"a bad session name", "role-session-name", "a b", "2 to 64", hard},
		{"an endpoint", "sts-endpoint", "https://sts.example.com:8443", "", soft},
		{"no URL", "sts-endpoint", "sts.example.com", "no URL", hard},
		{"a target role that is none", "target-role-arn", "x", "is no ARN", hard},
		{"an external id without a target", "target-external-id", "the-id", "goes with target-role-arn", soft},
		{"containers to skip", "skip-containers", "a", "put it on the pods", hard},
		{"containers to include", "include-containers", "a", "put it on the pods", hard},
		{"an annotation of EKS's own", "component", "coredns", "", soft},
		{"another of EKS's own", "compute-type", "ec2", "", soft},
		{"a misspelt name", "role_arn", appRole, "did you mean eks.amazonaws.com/role-arn?", soft},
		{"a name in camel case", "roleArn", appRole, "did you mean eks.amazonaws.com/role-arn?", soft},
		{"a missing s", "sts-regional-endpoint", "true", "did you mean eks.amazonaws.com/sts-regional-endpoints?", soft},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			findings := lint.Account(map[string]string{prefix + "/" + test.annotation: test.value, "other": "annotation"}, prefix, false)
			if test.message == "" {
				if len(findings) != 0 {
					t.Errorf("got %+v", findings)
				}
				return
			}
			if len(findings) != 1 {
				t.Fatalf("got %d findings: %+v", len(findings), findings)
			}
			if got := findings[0]; !strings.Contains(got.Message, test.message) || got.Hard != test.hard || got.Annotation != prefix+"/"+test.annotation {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestABareNameIsRightWhereItIsComposed(t *testing.T) {
	if got := lint.Account(map[string]string{prefix + "/role-arn": "team/app"}, prefix, true); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMisspeltDomains(t *testing.T) {
	for key, meant := range map[string]string{
		"eks.amazon.com/role-arn":      "eks.amazonaws.com/role-arn",
		"eks.aws.com/role-arn":         "eks.amazonaws.com/role-arn",
		"iam.amazonaws.com/role-arn":   "eks.amazonaws.com/role-arn",
		"amazonaws.com/role-arn":       "eks.amazonaws.com/role-arn",
		"eks.amazonaws.com.role-arn":   "eks.amazonaws.com/role-arn",
		"iam.amazonaws.com/role":       "kube2iam",
		"eks.amazonaws.com/component":  "",
		"eks.amazonaws.com/nodegroup":  "",
		"example.com/role-arn":         "",
		"vpcresources.k8s.aws/anymore": "",
	} {
		findings := lint.Misspelt(map[string]string{key: "x"}, prefix)
		switch {
		case meant == "" && len(findings) != 0:
			t.Errorf("%s: got %+v", key, findings)
		case meant != "" && (len(findings) != 1 || !strings.Contains(findings[0].Message, meant) || findings[0].Hard):
			t.Errorf("%s: got %+v, want %s", key, findings, meant)
		}
	}
}

func TestWhatBelongsOnTheServiceAccountIsFoundOnAPod(t *testing.T) {
	findings := lint.Pod(map[string]string{prefix + "/role-arn": appRole, prefix + "/token-expiration": "600"}, prefix, "app")
	if len(findings) != 1 || !strings.Contains(findings[0].Message, "ServiceAccount app") {
		t.Errorf("got %+v", findings)
	}
}

func FuzzAccount(f *testing.F) {
	f.Add("role-arn", "arn:aws:iam::123:role/x")
	f.Add("token-expiration", "-1")
	f.Add("role_arn", "\xff")
	f.Fuzz(func(t *testing.T, name, value string) {
		annotations := map[string]string{prefix + "/" + name: value}
		for _, findings := range [][]lint.Finding{
			lint.Account(annotations, prefix, false), lint.Account(annotations, prefix, true), lint.Pod(annotations, prefix, "app"),
		} {
			for _, finding := range findings {
				if len(finding.Message) > 600+8*len(name) {
					t.Errorf("a message of %d bytes", len(finding.Message))
				}
			}
		}
	})
}
