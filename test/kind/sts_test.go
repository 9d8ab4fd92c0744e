package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

func TestSTSFlag_invalid(t *testing.T) {
	for name, want := range map[string]string{"local-sts": "", "aws": "", "minio": "neither local-sts nor aws", "": "neither"} {
		err := new(walkthrough.STS).Set(name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("-sts=%s: got %v, want %q", name, err, want)
		}
	}
}

// The user's environment may have access keys of a real AWS account.
func TestPlugin_environment(t *testing.T) {
	s := newStandIns(t)
	s.write(t, "kubectl-irsa", "#!/bin/sh\nexport -p\n")
	t.Setenv("AWS_PROFILE", "production")
	t.Setenv("AWS_SESSION_TOKEN", "of a real account")
	var out bytes.Buffer
	if err := s.cluster(t, &out).IRSA(t.Context(), "http://127.0.0.1:40123", "provider", "show"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"$ kubectl irsa provider show\n", "AWS_ENDPOINT_URL='http://127.0.0.1:40123'", "AWS_ACCESS_KEY_ID='AKIALOCALSTSADMIN000'", "HOME='" + s.dir + "'"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	for _, not := range []string{"production", "real account"} {
		if strings.Contains(out.String(), not) {
			t.Errorf("%q is in:\n%s", not, out.String())
		}
	}
}

func TestPortForward_lifetime(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		kubectl string
		does    error
		want    string
	}{
		"kubectl is stopped at the end":        {"echo Forwarding from 127.0.0.1:40123 -\\> 7480; while :; do :; done", nil, ""},
		"the function fails":                   {"echo Forwarding from 127.0.0.1:40123 -\\> 7480", refused, "refused"},
		"kubectl prints more lines":            {"echo hello; echo Forwarding from 127.0.0.1:40123 -\\> 7480; echo Handling connection", nil, ""},
		"kubectl fails with a message":         {"echo no pods >&2; exit 1", nil, "port-forward --address 127.0.0.1 service/local-sts :7480: exit status 1: no pods"},
		"kubectl ends without forwarding":      {"echo hello", nil, "did not forward"},
		"kubectl listens on another interface": {"echo Forwarding from 10.0.0.1:40123 -\\> 7480", nil, "did not forward"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIns(t)
			s.write(t, "kubectl", "#!/bin/sh\n"+test.kubectl+"\n")
			reached := ""
			err := s.cluster(t, &bytes.Buffer{}).Forward(t.Context(), "local-sts", "local-sts", "7480", func(_ context.Context, address string) error {
				reached = address
				return test.does
			})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if ends := test.want == "" || test.does != nil; (reached == "127.0.0.1:40123") != ends {
				t.Errorf("got address %q, want the function called: %t", reached, ends)
			}
		})
	}
}

func TestWhoami_noCredentials(t *testing.T) {
	s := newStandIns(t, "kubectl")
	pod := injected()
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "whoami", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}}
	s.prints(t, "kubectl", pod)
	s.write(t, "logs.prints", "local-sts whoami: AccessDenied\n")
	var out bytes.Buffer
	err := s.cluster(t, &out).ShowWhoAmI(t.Context())
	if err == nil || !strings.Contains(err.Error(), "kubectl --namespace local-sts logs deployment/local-sts") {
		t.Errorf("got %v, want an error with the command that prints the log of local-sts", err)
	}
	if !strings.Contains(out.String(), "\n  local-sts whoami: AccessDenied\n") {
		t.Errorf("the application's log is not in:\n%s", out.String())
	}
}
