package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

// The application that asks STS who it is, and its ServiceAccount, are all of one
// name.
const (
	whoamiNamespace = "whoami"
	whoamiName      = "whoami"
	whoamiSelector  = "app.kubernetes.io/name=whoami"
)

// runWhoAmI runs the application and waits until it has ended, well or not.
func (c *cluster) runWhoAmI(ctx context.Context) error {
	// With its pod, which is otherwise deleted some time later.
	if err := c.runKubectl(ctx, "delete", "job", whoamiName, "--namespace", whoamiNamespace, "--ignore-not-found", "--cascade=foreground"); err != nil {
		return err
	}
	if err := c.apply(ctx, repository.Path("deploy", "kind", "whoami-job.yaml")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", whoamiNamespace, whoamiSelector,
		"--for=create", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "--timeout=2m")
}

// showWhoAmI shows what the application's pod was given, and what STS said to it.
func (c *cluster) showWhoAmI(ctx context.Context) error {
	pod, err := c.onePod(ctx, whoamiNamespace, whoamiSelector)
	if err != nil {
		return err
	}
	if err := showPod(c.out, pod); err != nil {
		return err
	}
	log, err := output(ctx, c.kubectl, "--kubeconfig", c.kubeconfig, "--namespace", whoamiNamespace, "logs", pod.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nWith these and an AWS SDK it asked STS who it is, and says:\n")
	for said := range strings.Lines(string(log)) {
		fmt.Fprintf(c.out, "  %s\n", strings.TrimRight(said, "\n"))
	}
	return endedWell(pod)
}

// endedWell is an error if the program of a pod did not.
func endedWell(pod *corev1.Pod) error {
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; ended == nil || ended.ExitCode != 0 {
			return errors.New("the application got no credentials: local-sts says why in " +
				"`kubectl --namespace " + stsNamespace + " logs deployment/local-sts`, and so may `kubectl irsa doctor pod " + pod.Name + " --namespace " + pod.Namespace + "`")
		}
	}
	return nil
}
