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

// dryRunPod is a pod that any cluster should take, even one with the Pod Security
// Standard "restricted" and with quotas.
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

// dryRunLabels are those that an objectSelector asks for: whether the real pods have
// them is another check's.
func dryRunLabels(r *registration) map[string]string {
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

// checkDryRun has the API server admit a pod without creating it: a dry run goes
// through all of admission, and stores nothing
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run).
func checkDryRun(ctx context.Context, x *checkState) Finding {
	if x.status[WebhookRegistered] == Broken {
		return newFinding(Skipped, "not looked at: %s is %s", WebhookRegistered, Broken)
	}
	if x.Options.SkipDryRun {
		return newFinding(Skipped, "not tried: --skip-dry-run was given")
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

// withRelatedCheck points to the check that has said already why the webhook is not called.
func (x *checkState) withRelatedCheck(finding Finding) Finding {
	for _, cause := range []Code{WebhookRules, WebhookEndpoints, WebhookNamespace} {
		if finding.Status == Broken && x.status[cause] == Broken {
			finding.Why, finding.Fix = fmt.Sprintf("see %s", cause), ""
			return finding
		}
	}
	return finding
}

// evaluateDryRunAdmitted says what has become of the trial pod.
func evaluateDryRunAdmitted(r *registration, pod *corev1.Pod, role string) Finding {
	container := &pod.Spec.Containers[0]
	if given, set := valueOf(container, envRole); set && given != role {
		return newFinding(Broken, "a pod that is created now gets the role %s, and not %s: tried as a dry run", given, role).
			withReason("the webhook does not know yet what its ServiceAccount names, reads other settings than doctor, or another webhook was first; its log says which").
			withFix("%s", logsCommand(r))
	}
	if hasIdentity(container) {
		return newFinding(OK, "a pod that is created now gets its identity: tried as a dry run")
	}
	finding := newFinding(Broken, "a pod that is created now gets no identity: tried as a dry run")
	if r != nil && r.ignoresFailures() {
		return finding.withReason("the API server did not reach the webhook, as its failurePolicy Ignore permits, or the webhook has another --annotation-prefix, or does not know the role; its log says which").
			withFix("%s", logsCommand(r))
	}
	return finding.withReason("the webhook was not called, or left it alone: its log says which").withFix("%s", logsCommand(r))
}

// logsCommand shows what a webhook says.
func logsCommand(r *registration) string {
	if r == nil || r.webhook.ClientConfig.Service == nil {
		return ""
	}
	service := r.webhook.ClientConfig.Service
	return kubectl + " logs -n " + service.Namespace + " deployment/" + service.Name + " --since=5m"
}

func evaluateDryRunRejected(x *checkState, err error) Finding {
	message := err.Error()
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(message, `cannot create resource "pods"`):
		return readErrorFinding(permission{verb: "create", resource: "pods", namespace: x.namespace}, err)
	case strings.Contains(message, "failed calling webhook"):
		finding := newFinding(Broken, "the API server cannot call the webhook, so pods are refused").withReason("%s", message)
		if r := x.webhook.chosen(); r != nil && strings.Contains(message, "x509:") {
			return withBundleFix(r, finding)
		}
		return finding.withFix("%s", logsCommand(x.webhook.chosen()))
	case strings.Contains(message, "does not support dry run"):
		return newFinding(Unknown, "a webhook of the cluster cannot be tried by a dry run").withReason("%s", message)
	case strings.Contains(message, "ValidatingAdmissionPolicy") && strings.Contains(message, "guard"):
		return newFinding(Broken, "the guard refuses pods of this ServiceAccount, since the webhook gives them no identity").withReason("%s", message).
			withFix("%s", logsCommand(x.webhook.chosen()))
	default:
		return newFinding(Unknown, "the trial pod was refused for another reason").withReason("%s", message)
	}
}

// hasIdentity says whether a container has the variables of an identity.
func hasIdentity(c *corev1.Container) bool {
	for _, variable := range c.Env {
		switch variable.Name {
		case envTokenFile, envContainerURI:
			return true
		case envConfigFile:
			if strings.Contains(variable.Value, "/serviceaccount/") {
				return true
			}
		}
	}
	return false
}
