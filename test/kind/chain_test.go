package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	testplane "github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const tokenVariable = "AWS_WEB_IDENTITY_TOKEN_FILE"

// binary returns the path of a program of `make build`, or the value of the variable.
func binary(variable, name string) string {
	return cmp.Or(os.Getenv(variable), repopath.Path("bin", name))
}

// The API server, the webhook, local-sts, kubectl irsa, kubectl and the application
// are real. The node is not: a script replaces the kubectl commands that need it,
// port-forward and logs. runJob does the rest.
func TestWhoami(t *testing.T) {
	plane, client := startPlane(t, testplane.Options{})
	server := startSTS(t, plane)
	hook, err := webhookprocess.Start(t.Context(), webhookprocess.Options{
		Binary: binary("WEBHOOK", "pod-identity-webhook"), Cluster: plane, Dir: t.TempDir(),
		Args: []string{"--sts-endpoint=" + server.URL(), "--aws-default-region=" + walkthrough.Region},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer hook.Kill()
	if err := hook.Register(t.Context(), client, webhookprocess.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	n := node{dir: t.TempDir(), client: client}
	c := &walkthrough.Cluster{
		Kubectl: n.kubectl(t, server.URL()), Plugin: binary("KUBECTL_IRSA", "kubectl-irsa"),
		Kubeconfig: plane.Kubeconfig(), Out: &out,
	}
	if err := c.Provision(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := n.runJob(ctx)
		if err != nil {
			cancel() // the Job's pod will never end
		}
		ended <- err
	}()
	for _, step := range []func(context.Context) error{c.RunWhoAmI, c.ShowWhoAmI} {
		if err := step(ctx); err != nil {
			cancel()
			log, _ := server.Logs()
			t.Fatalf("%v, %v\n%s\nlog of local-sts:\n%s", err, <-ended, out.String(), log)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"AWS_ROLE_ARN=arn:aws:iam::111122223333:role/whoami\n",
		"AWS_ENDPOINT_URL_STS=" + server.URL() + "\n",
		"  Arn      arn:aws:sts::111122223333:assumed-role/whoami/",
		"  Account  111122223333\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}

	// A second kind-up: local-sts has its old state, or is a new pod with no state.
	if err := c.Provision(t.Context()); err != nil {
		t.Errorf("second Provision: %v\n%s", err, out.String())
	}
	server.Stop()
	c.Kubectl = n.kubectl(t, startSTS(t, plane).URL())
	out.Reset()
	if err := c.Provision(t.Context()); err != nil || !strings.Contains(out.String(), "role/whoami") {
		t.Errorf("Provision with a new local-sts: %v\n%s", err, out.String())
	}
}

func startSTS(t *testing.T, plane *testplane.ControlPlane) *stsprocess.Server {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, plane.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := stsprocess.Start(t.Context(), stsprocess.Options{Binary: binary("LOCAL_STS", "local-sts"), Dir: dir, IssuerCAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// node is a fake node and a fake Job controller.
type node struct {
	dir    string
	client kubernetes.Interface
}

func (n node) log() string { return filepath.Join(n.dir, "log") }

// kubectl writes a script that answers port-forward and logs itself and runs
// the real kubectl for all other commands.
func (n node) kubectl(t *testing.T, sts string) string {
	t.Helper()
	address, err := url.Parse(sts)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in
*port-forward*) echo "Forwarding from %s -> 7480"; exec sleep 600 ;;
*" logs "*) exec cat '%s' ;;
*) exec '%s' "$@" ;;
esac
`, address.Host, n.log(), filepath.Join(testplane.DefaultAssets(), "kubectl"))
	file := filepath.Join(n.dir, "kubectl-"+address.Port())
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// runJob waits for the application's Job, creates its pod, and runs its container
// with only the environment and the token of the pod.
func (n node) runJob(ctx context.Context) error {
	watch, err := n.client.BatchV1().Jobs(walkthrough.WhoAmI).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + walkthrough.WhoAmI})
	if err != nil {
		return err
	}
	defer watch.Stop()
	var job *batchv1.Job
	select {
	case event := <-watch.ResultChan():
		job = event.Object.(*batchv1.Job)
	case <-ctx.Done():
		return ctx.Err()
	}
	pod, err := n.client.CoreV1().Pods(walkthrough.WhoAmI).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: walkthrough.WhoAmI + "-x", Labels: job.Spec.Template.Labels}, Spec: job.Spec.Template.Spec,
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	exitCode, err := n.run(ctx, pod)
	if err != nil {
		return err
	}
	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: exitCode}},
	}}
	_, err = n.client.CoreV1().Pods(walkthrough.WhoAmI).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

func (n node) run(ctx context.Context, pod *corev1.Pod) (exitCode int32, err error) {
	token, err := n.mountToken(ctx, pod)
	if err != nil {
		return 0, err
	}
	container := pod.Spec.Containers[0]
	command := exec.CommandContext(ctx, binary("LOCAL_STS", "local-sts"), container.Args...)
	for _, variable := range container.Env {
		if variable.Name == tokenVariable {
			variable.Value = token // the program has no container with its own file system
		}
		command.Env = append(command.Env, variable.Name+"="+variable.Value)
	}
	output, err := command.CombinedOutput()
	if command.ProcessState == nil {
		return 0, err
	}
	return int32(command.ProcessState.ExitCode()), os.WriteFile(n.log(), output, 0o600)
}

// mountToken writes the pod's token for STS to a file.
func (n node) mountToken(ctx context.Context, pod *corev1.Pod) (file string, err error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		projection := volume.Projected.Sources[0].ServiceAccountToken
		if projection == nil || projection.Audience == "" {
			continue
		}
		issued, err := n.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{
				Audiences: []string{projection.Audience}, ExpirationSeconds: projection.ExpirationSeconds,
				BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		file = filepath.Join(n.dir, "token")
		return file, os.WriteFile(file, []byte(issued.Status.Token), 0o600)
	}
	return "", fmt.Errorf("pod %s has no token for STS", pod.Name)
}
