package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	errChecksFailed = errors.New("a check failed, see ✗ above")
	errInterrupted  = errors.New("interrupted")
	errWebhookEnded = errors.New("the webhook exited")
	errSTSEnded     = errors.New("local-sts exited")
)

// demo starts a cluster, shows on it how a pod gets its identity, and checks the
// result. Before it returns, also with an error, it stops all processes that it
// started and removes all files that it wrote.
func demo(ctx context.Context, s screen, o options) (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "pod-identity-webhook-demo-")
	if err != nil {
		return err
	}
	c := &cluster{options: o, dir: dir}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errInterrupted // the interrupt caused the other error
		}
		if cleanup := errors.Join(c.stop(), os.RemoveAll(dir)); cleanup != nil {
			err = errors.Join(err, cleanup)
			return
		}
		s.text(fmt.Sprintf("The demo stopped its processes and removed its files after %s.", seconds(time.Since(began))))
	}()

	if s.verbose {
		s.heading("A pod gets its AWS identity, on a real Kubernetes API server")
	} else {
		s.heading("Starting etcd, kube-apiserver, the webhook and a fake AWS ...")
	}
	e := &evidence{cluster: c}
	if err := e.gather(ctx, s); err != nil {
		return err
	}
	if s.verbose {
		showAll(s, e)
	} else {
		showResult(s, e)
	}
	if ok := s.findings(e.check(ctx)); !ok {
		return errChecksFailed
	}
	if !o.up {
		return nil
	}
	return waitForInterrupt(ctx, s, c)
}

// showResult prints, on one screen, the fields that the webhook added and the
// ARN that STS returns for the container.
func showResult(s screen, e *evidence) {
	s.heading(fmt.Sprintf("What the webhook added to pod %s, as the API server stored it", e.pod.Name))
	s.lines(e.change.withoutContext()...)
	s.heading("Result of sts get-caller-identity in its container, from local-sts, a fake AWS")
	s.lines(e.caller[strings.LastIndex(e.caller, "\n")+1:]) // its ARN
}

// showAll prints all the evidence, with explanations for new users.
func showAll(s screen, e *evidence) {
	s.heading("Before")
	s.text(fmt.Sprintf("ServiceAccount %s/%s has the annotation for an IAM role:", e.account.Namespace, e.account.Name))
	s.lines(roleAnnotation + ": " + e.account.Annotations[roleAnnotation])
	s.text(
		"The pod runs as this ServiceAccount and has no AWS settings. (No controllers run",
		"here: the demo created the pod that the DaemonSet controller would create.)",
	)

	s.heading("After: fields that the webhook added to the pod, as the API server stored it")
	s.lines(e.change.lines...)

	s.heading("Claims of the pod's token, requested as the kubelet requests it")
	s.values(
		value{"iss", e.claims.Issuer},
		value{"sub", e.claims.Subject},
		value{"aud", strings.Join(e.claims.Audience, ", ")},
		value{"exp", fmt.Sprintf("%s, %s after it was issued", e.claims.Expiry.UTC().Format(time.RFC3339), e.claims.Expiry.Sub(e.claims.IssuedAt))},
		value{"pod", e.claims.Pod.Name},
		value{"serviceaccount", e.claims.ServiceAccount.Name},
	)
	s.text(
		"The AWS SDK in the pod sends the token to STS. STS compares iss, sub and aud with",
		"the role's trust policy, and returns credentials of this role only:",
	)
	s.heading("Result of GetCallerIdentity, by an AWS SDK with the container's environment")
	s.lines(strings.Split(e.caller, "\n")...)
	s.text(
		"This STS is local-sts, a fake AWS for tests. kubectl irsa created the OIDC provider",
		"and the role in it as it does in AWS. Its credentials are valid only in local-sts.",
	)
}

// waitForInterrupt prints commands for the user and waits for Ctrl-C. It returns
// an error if a part of the cluster exits before that.
func waitForInterrupt(ctx context.Context, s screen, c *cluster) error {
	s.heading("The cluster runs until Ctrl-C. In another terminal, run")
	s.lines(
		"export KUBECONFIG="+c.controlPlane.Kubeconfig(),
		"kubectl get pods --namespace="+namespace+" --output=yaml",
	)
	environment, err := c.administrator(ctx)
	if err != nil {
		return err
	}
	s.text("To use the fake AWS, with credentials that are valid only there, run:")
	s.lines(
		"export "+strings.Join(environment, " "),
		c.options.plugin+" doctor serviceaccount "+agent+" --namespace="+namespace+" --issuer-ca-file="+c.issuerCA(),
	)
	s.text(
		"The cluster has no nodes and no controllers: pods stay pending, and a new namespace",
		"has no default ServiceAccount until you create it.",
	)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.controlPlane.Wait(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-c.webhook.Ended():
			return errWebhookEnded // cluster.stop returns its exit code
		case <-c.sts.Ended():
			return errSTSEnded
		}
	})
	return group.Wait()
}
