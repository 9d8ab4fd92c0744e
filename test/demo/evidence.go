package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// What the example's manifests name, and the annotation that they are about.
const (
	namespace      = "amazon-cloudwatch"
	agent          = "cloudwatch-agent"
	roleAnnotation = "eks.amazonaws.com/role-arn"
)

// evidence is what was seen while a pod got its identity.
type evidence struct {
	cluster *cluster
	account *corev1.ServiceAccount

	// What the API server makes of the pods by itself, without the webhook: it
	// sets defaults and adds a volume of its own.
	podWithout, bystanderWithout *corev1.Pod

	// pod is the agent's, as stored.
	pod    *corev1.Pod
	change change
	// bystander is a pod whose ServiceAccount has no role.
	bystander       *corev1.Pod
	bystanderChange change

	projection *corev1.ServiceAccountTokenProjection
	rawToken   string // a credential, never shown
	claims     token.Claims

	// caller is what STS calls the container, by the token.
	caller string
}

// gather starts the cluster and the webhook, creates the example's pod and
// requests its token.
func (e *evidence) gather(ctx context.Context, s screen) error {
	for _, step := range []step{
		{"control plane started", e.cluster.startControlPlane},
		{"example applied", e.cluster.applyExample},
		{"pod tried by dry run", e.tryWithout},
		{"fake AWS started", e.cluster.startSTS},
		{"issuer known to IAM", e.cluster.createProvider},
		{"role created", e.cluster.createRole},
		{"webhook registered", e.cluster.startWebhook},
		{"pod created", e.createPods},
		{"token requested", e.requestToken},
		{"credentials given", e.exchangeToken},
	} {
		if err := s.step(ctx, step); err != nil {
			return err
		}
	}
	if s.verbose {
		s.gap()
	}
	return nil
}

func (e *evidence) tryWithout(ctx context.Context) (string, error) {
	pod, err := e.cluster.agentPod(ctx)
	if err != nil {
		return "", err
	}
	if e.podWithout, err = e.cluster.createPod(ctx, pod, metav1.DryRunAll); err != nil {
		return "", err
	}
	e.bystanderWithout, err = e.cluster.createPod(ctx, unrelatedPod(), metav1.DryRunAll)
	return "without the webhook, to compare", err
}

func (e *evidence) createPods(ctx context.Context) (string, error) {
	pod, err := e.cluster.agentPod(ctx)
	if err != nil {
		return "", err
	}
	if e.pod, err = e.cluster.createPod(ctx, pod); err != nil {
		return "", err
	}
	if e.change, err = compare(e.podWithout, e.pod); err != nil {
		return "", err
	}
	if e.bystander, err = e.cluster.createPod(ctx, unrelatedPod()); err != nil {
		return "", err
	}
	if e.bystanderChange, err = compare(e.bystanderWithout, e.bystander); err != nil {
		return "", err
	}
	e.account, err = e.cluster.client.CoreV1().ServiceAccounts(namespace).Get(ctx, e.pod.Spec.ServiceAccountName, metav1.GetOptions{})
	return e.pod.Name, err
}

func (e *evidence) requestToken(ctx context.Context) (_ string, err error) {
	if e.projection, err = mountedToken(&e.pod.Spec, &e.pod.Spec.Containers[0]); err != nil {
		return "", err
	}
	if e.rawToken, err = e.cluster.mintToken(ctx, e.pod, e.projection); err != nil {
		return "", err
	}
	e.claims, err = token.ParseUnverified(e.rawToken)
	return fmt.Sprintf("for %s, for %d seconds", e.projection.Audience, *e.projection.ExpirationSeconds), err
}

func (e *evidence) exchangeToken(ctx context.Context) (_ string, err error) {
	e.caller, err = e.cluster.whoAmI(ctx, &e.pod.Spec.Containers[0], e.rawToken)
	return "AssumeRoleWithWebIdentity, GetCallerIdentity", err
}
