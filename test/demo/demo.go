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
	errChecksFailed = errors.New("not everything is as it should be, see ✗ above")
	errInterrupted  = errors.New("interrupted")
	errWebhookEnded = errors.New("the webhook is gone")
	errSTSEnded     = errors.New("local-sts is gone")
)

// demo tells the story from the start of the cluster to its end. Whatever
// happens, nothing that it started runs and nothing that it wrote is left when
// it returns.
func demo(ctx context.Context, s screen, o options) (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "pod-identity-webhook-demo-")
	if err != nil {
		return err
	}
	c := &cluster{options: o, dir: dir}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errInterrupted // what failed after it failed because of it
		}
		if cleanup := errors.Join(c.stop(), os.RemoveAll(dir)); cleanup != nil {
			err = errors.Join(err, cleanup)
			return
		}
		s.say(fmt.Sprintf("Everything is stopped and removed, after %s.", seconds(time.Since(began))))
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

// showResult prints on one screen what the webhook added, and what that results in.
func showResult(s screen, e *evidence) {
	s.heading(fmt.Sprintf("What the webhook added to pod %s, as the API server stored it", e.pod.Name))
	s.lines(e.change.withoutContext()...)
	s.heading("Its container calls sts get-caller-identity at local-sts, a fake AWS")
	s.lines(e.caller[strings.LastIndex(e.caller, "\n")+1:]) // its ARN
}

// showAll prints all that was seen, for a reader who sees it for the first time.
func showAll(s screen, e *evidence) {
	s.heading("Before")
	s.say(fmt.Sprintf("The ServiceAccount %s of namespace %s names an IAM role:", e.account.Name, e.account.Namespace))
	s.lines(roleAnnotation + ": " + e.account.Annotations[roleAnnotation])
	s.say(
		"The pod runs as this ServiceAccount and says nothing about AWS. (No controllers",
		"run here: the demo created the pod that the DaemonSet's controller would create.)",
	)

	s.heading("After: what the webhook added to the pod, as the API server stored it")
	s.lines(e.change.lines...)

	s.heading("The pod's token: its claims, as issued to a kubelet that asks for it")
	s.values(
		value{"iss", e.claims.Issuer},
		value{"sub", e.claims.Subject},
		value{"aud", strings.Join(e.claims.Audience, ", ")},
		value{"exp", fmt.Sprintf("%s, %s after it was issued", e.claims.Expiry.UTC().Format(time.RFC3339), e.claims.Expiry.Sub(e.claims.IssuedAt))},
		value{"pod", e.claims.Pod.Name},
		value{"serviceaccount", e.claims.ServiceAccount.Name},
	)
	s.say(
		"The AWS SDK in the pod sends the token to STS. There iss, sub and aud are compared",
		"with the role's trust policy, and the pod gets credentials of this role alone:",
	)
	s.heading("Who the container is, as an AWS SDK is told that has nothing but its environment")
	s.lines(strings.Split(e.caller, "\n")...)
	s.say(
		"This STS is local-sts, a double for people to try things with. kubectl irsa made the",
		"provider and the role there as it does at AWS. Its credentials open nothing but itself.",
	)
}

// waitForInterrupt leaves the cluster to the user until Ctrl-C, or until a part of it
// has ended by itself.
func waitForInterrupt(ctx context.Context, s screen, c *cluster) error {
	s.heading("The cluster stays up until Ctrl-C. In another terminal")
	s.lines(
		"export KUBECONFIG="+c.controlPlane.Kubeconfig(),
		"kubectl get pods --namespace="+namespace+" --output=yaml",
	)
	environment, err := c.administrator(ctx)
	if err != nil {
		return err
	}
	s.say("The same with its double of AWS, whose credentials open nothing but itself:")
	s.lines(
		"export "+strings.Join(environment, " "),
		c.options.plugin+" doctor serviceaccount "+agent+" --namespace="+namespace+" --issuer-ca-file="+c.issuerCA(),
	)
	s.say(
		"It has no nodes and no controllers: pods stay pending, and a new namespace lacks",
		"its default ServiceAccount until you create it.",
	)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.controlPlane.Wait(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-c.webhook.Ended():
			return errWebhookEnded // how it ended is for cluster.stop to tell
		case <-c.sts.Ended():
			return errSTSEnded
		}
	})
	return group.Wait()
}
