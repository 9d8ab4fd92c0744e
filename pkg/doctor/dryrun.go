package doctor

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dryRunPod returns a pod that any cluster should admit, even one with quotas and with
// the Pod Security Standard "restricted".
func dryRunPod(x *checkState) *corev1.Pod {
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "kubectl-irsa-doctor-", Namespace: x.namespace, Labels: dryRunLabels(x.webhook.chosen())},
		Spec: corev1.PodSpec{
			ServiceAccountName: x.serviceAccount,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "doctor", Image: "registry.k8s.io/pause:3.10",
				Resources: corev1.ResourceRequirements{Requests: small, Limits: small},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	return pod
}

// dryRunLabels returns the labels that the objectSelector requires. The check
// WebhookPod reports whether the real pods have them.
func dryRunLabels(r *webhookEntry) map[string]string {
	if r == nil {
		return nil
	}
	labels := map[string]string{}
	for _, argument := range labelArgs(unmetRequirements(r.webhook.ObjectSelector, nil)) {
		if key, value, set := strings.Cut(argument, "="); set {
			labels[key] = value
		}
	}
	return labels
}

// checkDryRun creates a pod as a dry run. The API server runs all admission steps for it
// and stores nothing
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run).
func checkDryRun(ctx context.Context, x *checkState) Finding {
	if x.status[WebhookRegistered] == Broken {
		return newFinding(Skipped, "skipped: check %s is %s", WebhookRegistered, Broken)
	}
	if x.Options.SkipDryRun {
		return newFinding(Skipped, "skipped because of --skip-dry-run")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	admitted, err := x.Client.CoreV1().Pods(x.namespace).Create(ctx, dryRunPod(x), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil {
		finding := evaluateDryRunAdmitted(x.webhook.chosen(), admitted, x.identity.RoleARN)
		x.dryRunPassed = finding.Status == OK
		return x.withRelatedCheck(finding)
	}
	return x.withRelatedCheck(evaluateDryRunRejected(x, err))
}

// withRelatedCheck replaces the reason and the fix by a reference to an earlier check. It
// does so only if that check already reports why the webhook is not called.
func (x *checkState) withRelatedCheck(finding Finding) Finding {
	for _, cause := range []Code{WebhookRules, WebhookEndpoints, WebhookNamespace} {
		if finding.Status == Broken && x.status[cause] == Broken {
			finding.Why, finding.Fix = fmt.Sprintf("see check %s", cause), ""
			return finding
		}
	}
	return finding
}

// evaluateDryRunAdmitted evaluates the pod that the API server returned for the dry run.
func evaluateDryRunAdmitted(r *webhookEntry, pod *corev1.Pod, role string) Finding {
	container := &pod.Spec.Containers[0]
	if given, set := valueOf(container, envRole); set && given != role {
		return newFinding(Broken, "a new pod gets role %s, not %s (dry run)", given, role).
			withReason("the webhook has not read the new role yet, has other settings than doctor assumes, or another webhook ran first; see its log").
			withFix("%s", logsCommand(r))
	}
	if hasIdentity(container) {
		return newFinding(OK, "a new pod gets the identity of its ServiceAccount (dry run)")
	}
	finding := newFinding(Broken, "a new pod gets no identity (dry run)")
	if r != nil && r.ignoresFailures() {
		return finding.withReason("the webhook did not respond and its failurePolicy is Ignore, or it has another --annotation-prefix or no role for the ServiceAccount; see its log").
			withFix("%s", logsCommand(r))
	}
	return finding.withReason("the webhook was not called, or it skipped the pod; see its log").withFix("%s", logsCommand(r))
}

// logsCommand returns the command that prints the log of the webhook, or "" if the
// webhook is not called through a Service.
func logsCommand(r *webhookEntry) string {
	if r == nil || r.webhook.ClientConfig.Service == nil {
		return ""
	}
	service := r.webhook.ClientConfig.Service
	return kubectl + " logs -n " + service.Namespace + " deployment/" + service.Name + " --since=5m"
}

// evaluateDryRunRejected evaluates the error that the API server returned for the dry run.
func evaluateDryRunRejected(x *checkState, err error) Finding {
	message := err.Error()
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(message, `cannot create resource "pods"`):
		return readErrorFinding(permission{verb: "create", resource: "pods", namespace: x.namespace}, err)
	case strings.Contains(message, "failed calling webhook"):
		finding := newFinding(Broken, "the API server cannot call the webhook, so it rejects new pods").withReason("%s", message)
		if r := x.webhook.chosen(); r != nil && strings.Contains(message, "x509:") {
			return withBundleFix(r, finding)
		}
		return finding.withFix("%s", logsCommand(x.webhook.chosen()))
	case strings.Contains(message, "does not support dry run"):
		return newFinding(Unknown, "an admission webhook of the cluster does not support dry runs").withReason("%s", message)
	case strings.Contains(message, "ValidatingAdmissionPolicy") && strings.Contains(message, "guard"):
		return newFinding(Broken, "the guard denies new pods of ServiceAccount %s/%s: they get no identity", x.namespace, x.serviceAccount).withReason("%s", message).
			withFix("%s", logsCommand(x.webhook.chosen()))
	default:
		return newFinding(Unknown, "the API server rejected the pod of the dry run for another reason").withReason("%s", message)
	}
}

// hasIdentity reports whether a container has the variables of an identity.
func hasIdentity(c *corev1.Container) bool {
	_, agent := valueOf(c, envContainerURI)
	return agent || hasWebIdentity(c)
}

// hasWebIdentity reports whether a container has the variables of a web identity.
func hasWebIdentity(c *corev1.Container) bool {
	config, _ := valueOf(c, envConfigFile)
	_, token := valueOf(c, envTokenFile)
	return token || strings.Contains(config, "/serviceaccount/")
}
