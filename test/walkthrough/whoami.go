package walkthrough

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const (
	// WhoAmI is the name of the application that calls GetCallerIdentity. Its
	// namespace and its ServiceAccount have the same name.
	WhoAmI = "whoami"
	// WhoAmISelector selects its pods.
	WhoAmISelector = "app.kubernetes.io/name=whoami"
)

// RunWhoAmI runs the application's Job and waits until its container exits, with
// any exit code.
func (c *Cluster) RunWhoAmI(ctx context.Context) error {
	// --cascade=foreground waits until the old pod is deleted too.
	if err := c.runKubectl(ctx, "delete", "job", WhoAmI, "--namespace", WhoAmI, "--ignore-not-found", "--cascade=foreground"); err != nil {
		return err
	}
	if err := c.Apply(ctx, repopath.Path("deploy", "kind", "whoami-job.yaml")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", WhoAmI, WhoAmISelector,
		"--for=create", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "--timeout=2m")
}

// ShowWhoAmI prints the application's pod as ShowPod does, and its log with the
// response of STS. It returns an error if the application failed.
func (c *Cluster) ShowWhoAmI(ctx context.Context) error {
	pod, err := c.firstPod(ctx, WhoAmI, WhoAmISelector)
	if err != nil {
		return err
	}
	if err := ShowPod(c.Out, pod); err != nil {
		return err
	}
	log, err := Output(ctx, c.Kubectl, "--kubeconfig", c.Kubeconfig, "--namespace", WhoAmI, "logs", pod.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\nLog of its container, which called GetCallerIdentity with an AWS SDK:\n")
	for line := range strings.Lines(string(log)) {
		fmt.Fprintf(c.Out, "  %s\n", strings.TrimRight(line, "\n"))
	}
	return succeeded(pod)
}

// succeeded returns an error if a container of the pod did not exit with code 0.
func succeeded(pod *corev1.Pod) error {
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; ended == nil || ended.ExitCode != 0 {
			return errors.New("the application got no credentials; read the log of local-sts with " +
				"`kubectl --namespace " + STSNamespace + " logs deployment/local-sts`, or run `kubectl irsa doctor pod " + pod.Name + " --namespace " + pod.Namespace + "`")
		}
	}
	return nil
}
