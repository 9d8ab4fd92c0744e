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

// trialPod is a pod that any cluster should take, even one with the Pod Security
// Standard "restricted" and with quotas.
func trialPod(x *examination) *corev1.Pod {
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "kubectl-irsa-doctor-", Namespace: x.namespace, Labels: trialLabels(x.webhook.chosen())},
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

// trialLabels are those that an objectSelector asks for: whether the real pods have
// them is another check's.
func trialLabels(r *registration) map[string]string {
	if r == nil {
		return nil
	}
	labels := map[string]string{}
	for _, argument := range relabel(unmet(r.webhook.ObjectSelector, nil)) {
		if key, value, set := strings.Cut(argument, "="); set {
			labels[key] = value
		}
	}
	return labels
}

// checkTrial has the API server admit a pod without creating it: a dry run goes
// through all of admission, and stores nothing
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run).
func checkTrial(ctx context.Context, x *examination) Finding {
	if x.status[WebhookRegistered] == Broken {
		return found(Skipped, "not looked at: %s is %s", WebhookRegistered, Broken)
	}
	if x.Options.NoTrial {
		return found(Skipped, "not tried: --no-trial was given")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	admitted, err := x.Client.CoreV1().Pods(x.namespace).Create(ctx, trialPod(x), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil {
		finding := judgeAdmitted(x.webhook.chosen(), admitted, x.identity.RoleARN)
		x.tried = finding.Status == OK
		return x.asSaid(finding)
	}
	return x.asSaid(judgeRefused(x, err))
}

// asSaid points to the check that has said already why the webhook is not called.
func (x *examination) asSaid(finding Finding) Finding {
	for _, cause := range []Code{WebhookRules, WebhookEndpoints, WebhookNamespace} {
		if finding.Status == Broken && x.status[cause] == Broken {
			finding.Why, finding.Fix = fmt.Sprintf("see %s", cause), ""
			return finding
		}
	}
	return finding
}

// judgeAdmitted says what has become of the trial pod.
func judgeAdmitted(r *registration, pod *corev1.Pod, role string) Finding {
	container := &pod.Spec.Containers[0]
	if given, set := valueOf(container, envRole); set && given != role {
		return found(Broken, "a pod that is created now gets the role %s, and not %s: tried as a dry run", given, role).
			because("the webhook does not know yet what its ServiceAccount names, reads other settings than doctor, or another webhook was first; its log says which").
			mendedBy("%s", logsCommand(r))
	}
	if hasIdentity(container) {
		return found(OK, "a pod that is created now gets its identity: tried as a dry run")
	}
	finding := found(Broken, "a pod that is created now gets no identity: tried as a dry run")
	if r != nil && r.ignoresFailures() {
		return finding.because("the API server did not reach the webhook, as its failurePolicy Ignore permits, or the webhook has another --annotation-prefix, or does not know the role; its log says which").
			mendedBy("%s", logsCommand(r))
	}
	return finding.because("the webhook was not called, or left it alone: its log says which").mendedBy("%s", logsCommand(r))
}

// logsCommand shows what a webhook says.
func logsCommand(r *registration) string {
	if r == nil || r.webhook.ClientConfig.Service == nil {
		return ""
	}
	service := r.webhook.ClientConfig.Service
	return kubectl + " logs -n " + service.Namespace + " deployment/" + service.Name + " --since=5m"
}

func judgeRefused(x *examination, err error) Finding {
	message := err.Error()
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(message, `cannot create resource "pods"`):
		return unreadable(right{verb: "create", resource: "pods", namespace: x.namespace}, err)
	case strings.Contains(message, "failed calling webhook"):
		finding := found(Broken, "the API server cannot call the webhook, so pods are refused").because("%s", message)
		if r := x.webhook.chosen(); r != nil && strings.Contains(message, "x509:") {
			return mendBundle(r, finding)
		}
		return finding.mendedBy("%s", logsCommand(x.webhook.chosen()))
	case strings.Contains(message, "does not support dry run"):
		return found(Unknown, "a webhook of the cluster cannot be tried by a dry run").because("%s", message)
	case strings.Contains(message, "ValidatingAdmissionPolicy") && strings.Contains(message, "guard"):
		return found(Broken, "the guard refuses pods of this ServiceAccount, since the webhook gives them no identity").because("%s", message).
			mendedBy("%s", logsCommand(x.webhook.chosen()))
	default:
		return found(Unknown, "the trial pod was refused for another reason").because("%s", message)
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
