package settings_test

import (
	"strings"
	"testing"
)

// TestValidate_invalidValue has values that look right and are not. Each message must
// name the flag and the value, and show a value that is valid.
func TestValidate_invalidValue(t *testing.T) {
	const tokenPath, agentPath = "/var/run/secrets/eks.amazonaws.com/serviceaccount", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
	for flag, test := range map[string]struct {
		example string
		values  []string
	}{
		"annotation-prefix": {"eks.amazonaws.com", []string{
			"", "eks.amazonaws.com/", "eks.amazonaws.com/role-arn", "EKS.amazonaws.com", "eks_amazonaws.com", "https://eks.amazonaws.com", " eks.amazonaws.com",
			".eks", "eks..com", "eks.amazonaws.com.", strings.Repeat("a", 254),
		}},
		"token-audience":                 {"sts.amazonaws.com", []string{"", " ", "sts.amazonaws.com ", "sts.amazonaws.com,vault", "a b", "a\tb", "a\nb", "a\x00b"}},
		"container-credentials-audience": {"pods.eks.amazonaws.com", []string{"", "a b", "a,b"}},
		"token-expiration":               {"86400", []string{"4294967297", "9223372036854775807"}},
		"token-mount-path": {tokenPath, []string{
			"", "token", "./token", "../x", "/a/../b", "/..", "/a:b", `C:\token`, "/a,b", "/a b", "/a\nb", "/", "//", "/.", "/etc", "/etc/", "/tmp", "/usr/bin",
			"/proc", "/proc/1", "/sys/fs", "/dev/token", "/var", "/run", "/var/run/secrets", "/run/secrets",
			"/var/run/secrets/kubernetes.io/serviceaccount", "/var/run/secrets/kubernetes.io/serviceaccount/aws", "/run/secrets/kubernetes.io",
		}},
		"container-credentials-token-mount-path": {agentPath, []string{"", "x", "/a/..", "/a:b", "/"}},
		"container-credentials-token-volume-name": {"eks-pod-identity-token", []string{
			"", "a_b", "A", "a.b", "a/b", "-a", "a ", strings.Repeat("a", 64),
		}},
		"container-credentials-token-path": {"eks-pod-identity-token", []string{
			"", "../x", "a/../b", "..x", "/token", "a:b", "a,b", "a b", ".", "a/", "./a", "a//b",
		}},
		"aws-default-region": {"eu-west-1", []string{"EU-WEST-1", "eu_west_1", "eu-west-1a", "us-gov-west-1b", "eu-west-1 ", "eu-west-1,us-east-1", "-", "eu.west"}},
		"sts-endpoint": {"https://sts.eu-west-1.amazonaws.com", []string{
			"sts.amazonaws.com", "sts.amazonaws.com:443", "ftp://sts.example", "https://", "https:///path", "https://:443", "https://a b", "https://a,b",
			"https://user@sts.example", "https://sts.example?a=b", "https://sts.example#a", "https://sts.example:0", "https://sts.example:65536", "//sts.example",
			"https://sts.example, https://sts.example", "https://-sts.example",
		}},
		"container-credentials-full-uri": {"http://169.254.170.23/v1/credentials", []string{
			"", "169.254.170.23", "/v1/credentials", "http://169.254.169.254/v1/credentials", "http://10.0.0.1/v1/credentials", "http://[fd00::1]/", "https://",
		}},
		"role-session-name": {"pod-name", []string{"a", "a b", "a/b", "pod:name", strings.Repeat("a", 65)}},
		"role-policy":       {"require", []string{"", "true", "On", "deny"}},
	} {
		for _, value := range test.values {
			mistakes := parse(t, "--"+flag+"="+value).Validate()
			if len(mistakes) != 1 {
				t.Errorf("--%s=%q: got %v, want 1 mistake", flag, value, mistakes)
				continue
			}
			message := mistakes[0].Error()
			if !strings.Contains(message, "--"+flag) || !strings.Contains(message, test.example) {
				t.Errorf("--%s=%q: got %q, want the flag and the example %s", flag, value, message, test.example)
			}
			if quoted := strings.Trim(value, " \t\n\x00"); !strings.Contains(message, quoted) && !strings.ContainsAny(value, "\t\n\x00\\") {
				t.Errorf("--%s=%q: got %q, want the value", flag, value, message)
			}
		}
	}
}

// TestValidate_validValue has what must go on to be accepted, since the reference
// accepts it and pods get their identity with it.
func TestValidate_validValue(t *testing.T) {
	for flag, values := range map[string][]string{
		"annotation-prefix":                       {"eks.amazonaws.com", "irsa.example.com", "irsa"},
		"token-audience":                          {"sts.amazonaws.com", "amazonaws.com", "https://kubernetes.default.svc", "urn:a:b", "audience/ü"},
		"token-expiration":                        {"0", "100", "600", "4294967296"},
		"token-mount-path":                        {"/var/run/secrets/eks.amazonaws.com/serviceaccount/", "/etc/aws/", "/eks.amazonaws.com/token", "/c", "/var/run/token", "/meta/aws-iam", "/a//b/./c", "/run/aws", "/var/run/secrets/aws"},
		"container-credentials-token-volume-name": {"eks-pod-identity-token", "a", "1"},
		"container-credentials-token-path":        {"eks-pod-identity-token", "token", "a/b", ".hidden", "a..b"},
		"aws-default-region":                      {"", "eu-west-1", "us-gov-west-1", "us-iso-east-1", "cn-north-1", "eusc-de-east-1", "ap-southeast-7", "default", "garage", "local1"},
		"sts-endpoint": {
			"", "https://sts.eu-west-1.amazonaws.com", "https://vpce-0123-abc.sts.eu-west-1.vpce.amazonaws.com", "http://minio.minio.svc:9000", "https://[fd00::1]:8443",
			"https://127.0.0.1:8443/sts", "https://sts.example./", "http://local_sts:8080", "HTTPS://STS.example",
		},
		"container-credentials-full-uri": {
			"http://169.254.170.23/v1/credentials", "http://169.254.170.2/v2", "http://[fd00:ec2::23]/v1/credentials", "http://127.0.0.1:1338/", "http://[::1]/", "http://localhost/v1",
			"https://agent.example/v1/credentials", "http://agent.example/v1/credentials",
		},
		"role-session-name": {"", "pod-name", "a@b", strings.Repeat("a", 64)},
		"role-policy":       {"off", "on", "require"},
	} {
		for _, value := range values {
			if mistakes := parse(t, "--"+flag+"="+value).Validate(); len(mistakes) > 0 {
				t.Errorf("--%s=%q: got %v", flag, value, mistakes)
			}
		}
	}
}

// TestValidate_fallbackOverlaps has pairs of paths of which what blocks the usual one
// also blocks the fallback.
func TestValidate_fallbackOverlaps(t *testing.T) {
	const (
		fallback, usual, agent  = "--token-fallback-mount-path", "--token-mount-path", "--container-credentials-token-mount-path"
		config                  = "--watch-container-credentials-config=/config.json"
		usualPath, fallbackPath = "/var/run/secrets/eks.amazonaws.com/serviceaccount", "/eks.amazonaws.com/serviceaccount"
		agentPath               = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
	)
	for _, test := range []struct {
		args []string
		want []string // parts of the message, none if valid
	}{
		{[]string{fallback + "=" + usualPath}, []string{usual, usualPath, fallbackPath}},
		{[]string{fallback + "=" + usualPath + "/"}, []string{usual, usualPath, fallbackPath}},
		{[]string{fallback + "=//var/./run/secrets//eks.amazonaws.com/serviceaccount"}, []string{usual, fallbackPath}},
		{[]string{fallback + "=/run/secrets/eks.amazonaws.com/serviceaccount"}, []string{usual, fallbackPath}},
		{[]string{fallback + "=/run/secrets/eks.amazonaws.com"}, []string{usual, fallbackPath}},
		{[]string{fallback + "=" + usualPath + "/fallback"}, []string{usual, fallbackPath}},
		{[]string{fallback + "=" + usualPath + "-2"}, nil},
		{[]string{fallback + "=/var/run/aws", usual + "=/run/aws-2"}, nil},
		{[]string{fallback + "=/run/aws", usual + "=/var/aws"}, nil},
		// The fallback is the default, so its flag is what to set.
		{[]string{usual + "=" + fallbackPath}, []string{fallback, fallbackPath, "/aws-token/serviceaccount"}},
		{[]string{usual + "=/eks.amazonaws.com"}, []string{fallback, fallbackPath, "/aws-token/serviceaccount"}},
		{[]string{usual + "=" + fallbackPath + "/token"}, []string{fallback, fallbackPath, "/aws-token/serviceaccount"}},
		{[]string{config, fallback + "=" + agentPath}, []string{agent, agentPath, fallbackPath}},
		{[]string{config, agent + "=/eks.amazonaws.com", usual + "=/aws-token"}, []string{fallback, agent, "/irsa-token/serviceaccount"}},
		{[]string{fallback + "=" + agentPath}, nil}, // EKS Pod Identity is off
		{[]string{config}, nil},
	} {
		mistakes := parse(t, test.args...).Validate()
		if len(mistakes) != min(len(test.want), 1) {
			t.Errorf("%q: got %v", test.args, mistakes)
			continue
		}
		for _, part := range test.want {
			if !strings.Contains(mistakes[0].Error(), part) {
				t.Errorf("%q: got %q, want %s in it", test.args, mistakes[0], part)
			}
		}
	}
}
