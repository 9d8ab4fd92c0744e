package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// Names in the example's manifests, and the annotation for the role.
const (
	namespace      = "amazon-cloudwatch"
	agent          = "cloudwatch-agent"
	roleAnnotation = "eks.amazonaws.com/role-arn"
)

// evidence is what the demo shows and checks: the pods, the token and the result of STS.
type evidence struct {
	cluster *cluster
	account *corev1.ServiceAccount

	// The pods as the API server would store them without the webhook: it sets
	// defaults and adds a volume.
	podWithout, bystanderWithout *corev1.Pod

	// pod is the agent's pod, as stored.
	pod    *corev1.Pod
	change change
	// bystander is a pod whose ServiceAccount has no role.
	bystander       *corev1.Pod
	bystanderChange change

	projection *corev1.ServiceAccountTokenProjection
	rawToken   string // a credential, never shown
	claims     token.Claims

	// caller is the result of GetCallerIdentity for the container.
	caller string
}

// gather starts the cluster and the webhook, creates the example's pod and
// requests its token.
func (e *evidence) gather(ctx context.Context, s screen) error {
	for _, step := range []step{
		{"control plane started", e.cluster.startControlPlane},
		{"example applied", e.cluster.applyExample},
		{"pod created (dry run)", e.dryRunWithoutWebhook},
		{"fake AWS started", e.cluster.startSTS},
		{"OIDC provider created", e.cluster.createProvider},
		{"role created", e.cluster.createRole},
		{"webhook started", e.cluster.startWebhook},
		{"pod created", e.createPods},
		{"token requested", e.requestToken},
		{"credentials requested", e.exchangeToken},
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

func (e *evidence) dryRunWithoutWebhook(ctx context.Context) (string, error) {
	pod, err := e.cluster.agentPod(ctx)
	if err != nil {
		return "", err
	}
	if e.podWithout, err = e.cluster.createPod(ctx, pod, metav1.DryRunAll); err != nil {
		return "", err
	}
	e.bystanderWithout, err = e.cluster.createPod(ctx, unrelatedPod(), metav1.DryRunAll)
	return "without the webhook, for comparison", err
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
	if e.rawToken, err = e.cluster.requestToken(ctx, e.pod, e.projection); err != nil {
		return "", err
	}
	e.claims, err = token.ParseUnverified(e.rawToken)
	return fmt.Sprintf("audience %s, valid %d s", e.projection.Audience, *e.projection.ExpirationSeconds), err
}

func (e *evidence) exchangeToken(ctx context.Context) (_ string, err error) {
	e.caller, err = e.cluster.whoAmI(ctx, &e.pod.Spec.Containers[0], e.rawToken)
	return "AssumeRoleWithWebIdentity, GetCallerIdentity", err
}
