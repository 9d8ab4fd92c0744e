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
	// WhoAmI is the name of the application that asks STS who it is, of its
	// namespace and of its ServiceAccount.
	WhoAmI = "whoami"
	// WhoAmISelector is of its pods.
	WhoAmISelector = "app.kubernetes.io/name=whoami"
)

// RunWhoAmI runs the application and waits until it has ended, well or not.
func (c *Cluster) RunWhoAmI(ctx context.Context) error {
	// With its pod, which is otherwise deleted some time later.
	if err := c.runKubectl(ctx, "delete", "job", WhoAmI, "--namespace", WhoAmI, "--ignore-not-found", "--cascade=foreground"); err != nil {
		return err
	}
	if err := c.Apply(ctx, repopath.Path("deploy", "kind", "whoami-job.yaml")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", WhoAmI, WhoAmISelector,
		"--for=create", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "--timeout=2m")
}

// ShowWhoAmI shows what the application's pod was given, and what STS said to it.
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
	fmt.Fprintf(c.Out, "\nWith these and an AWS SDK it asked STS who it is, and says:\n")
	for said := range strings.Lines(string(log)) {
		fmt.Fprintf(c.Out, "  %s\n", strings.TrimRight(said, "\n"))
	}
	return succeeded(pod)
}

// succeeded is an error if the program of a pod did not.
func succeeded(pod *corev1.Pod) error {
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; ended == nil || ended.ExitCode != 0 {
			return errors.New("the application got no credentials: local-sts says why in " +
				"`kubectl --namespace " + STSNamespace + " logs deployment/local-sts`, and so may `kubectl irsa doctor pod " + pod.Name + " --namespace " + pod.Namespace + "`")
		}
	}
	return nil
}
