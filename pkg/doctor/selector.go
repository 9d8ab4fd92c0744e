package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// unmetRequirements returns the requirements of a selector that labels do not meet. A nil
// selector matches everything, as in the API server.
func unmetRequirements(selector *metav1.LabelSelector, labels map[string]string) []metav1.LabelSelectorRequirement {
	if selector == nil {
		return nil
	}
	var all []metav1.LabelSelectorRequirement
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		all = append(all, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{selector.MatchLabels[key]}})
	}
	all = append(all, selector.MatchExpressions...)
	return slices.DeleteFunc(all, func(r metav1.LabelSelectorRequirement) bool { return requirementMet(r, labels) })
}

func requirementMet(r metav1.LabelSelectorRequirement, labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return has && slices.Contains(r.Values, value)
	case metav1.LabelSelectorOpNotIn:
		return !has || !slices.Contains(r.Values, value)
	case metav1.LabelSelectorOpExists:
		return has
	case metav1.LabelSelectorOpDoesNotExist:
		return !has
	default:
		return false
	}
}

func requirement(r metav1.LabelSelectorRequirement) string {
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return fmt.Sprintf("label %s in (%s)", r.Key, strings.Join(r.Values, ", "))
	case metav1.LabelSelectorOpNotIn:
		return fmt.Sprintf("label %s not in (%s)", r.Key, strings.Join(r.Values, ", "))
	case metav1.LabelSelectorOpExists:
		return "label " + r.Key
	default:
		return "no label " + r.Key
	}
}

// labelArgs returns arguments of kubectl label that make an object meet the requirements.
// It returns nil if a requirement is on a label that the API server sets.
func labelArgs(requirements []metav1.LabelSelectorRequirement) []string {
	var arguments []string
	for _, r := range requirements {
		if r.Key == corev1.LabelMetadataName {
			return nil
		}
		switch r.Operator {
		case metav1.LabelSelectorOpIn:
			arguments = append(arguments, r.Key+"="+r.Values[0])
		case metav1.LabelSelectorOpExists:
			arguments = append(arguments, r.Key+"=enabled")
		default:
			arguments = append(arguments, r.Key+"-")
		}
	}
	return arguments
}

func formatRequirements(requirements []metav1.LabelSelectorRequirement) string {
	var all []string
	for _, r := range requirements {
		all = append(all, requirement(r))
	}
	return strings.Join(all, ", ")
}

// evaluateNamespaceSelector checks whether the webhook is called for pods of a namespace.
func evaluateNamespaceSelector(r *webhookEntry, namespace *corev1.Namespace) Finding {
	missed := unmetRequirements(r.webhook.NamespaceSelector, namespace.Labels)
	if len(missed) == 0 {
		return newFinding(OK, "the namespaceSelector matches namespace %s", namespace.Name)
	}
	finding := newFinding(Broken, "the webhook is not called for namespace %s", namespace.Name).
		withReason("the namespaceSelector of MutatingWebhookConfiguration %s requires %s", r.name(), formatRequirements(missed))
	arguments := labelArgs(missed)
	if len(arguments) == 0 {
		finding.Why += ", which excludes this namespace by name; run the workload in another"
		return finding
	}
	return finding.withFix(kubectl+" label --overwrite namespace %s %s", namespace.Name, strings.Join(arguments, " "))
}

// evaluatePodSelected checks whether the webhook is called for the pod as it is now.
func evaluatePodSelected(r *webhookEntry, pod *corev1.Pod) Finding {
	if missed := unmetRequirements(r.webhook.ObjectSelector, pod.Labels); len(missed) > 0 {
		finding := newFinding(Broken, "the webhook is not called for pod %s", pod.Name).
			withReason("the objectSelector of MutatingWebhookConfiguration %s requires %s; change the labels in the pod template", r.name(), formatRequirements(missed))
		if slices.ContainsFunc(missed, func(r metav1.LabelSelectorRequirement) bool { return r.Key == inject.SkipPodLabel }) {
			finding.Why = fmt.Sprintf("the webhook skips pods with label %s; remove it from the pod template", inject.SkipPodLabel)
		}
		return finding.withFix("%s", templateLabelFix(pod, missed))
	}
	var unknown []string
	for _, condition := range r.webhook.MatchConditions {
		switch matches, known := evaluateMatchCondition(condition, pod); {
		case !known:
			unknown = append(unknown, condition.Name)
		case !matches:
			finding := newFinding(Broken, "the webhook is not called for pod %s", pod.Name).
				withReason("the matchCondition %s of MutatingWebhookConfiguration %s excludes it", condition.Name, r.name())
			if isMirror(pod) {
				finding.Why += "; it is the mirror pod of a static pod, which cannot have a ServiceAccount"
			}
			return finding
		}
	}
	if len(unknown) > 0 {
		return newFinding(Unknown, "cannot evaluate the matchConditions for pod %s", pod.Name).
			withReason("doctor evaluates only the matchConditions of the Helm chart, and not %s; check %s shows whether the API server calls the webhook", strings.Join(unknown, ", "), WebhookDryRun)
	}
	return newFinding(OK, "objectSelector and matchConditions match pod %s", pod.Name)
}

// noMirrorPods are the matchConditions of the Helm chart that exclude mirror pods,
// without spaces.
var noMirrorPods = []string{
	`!has(object.metadata.annotations)||!('kubernetes.io/config.mirror'inobject.metadata.annotations)`,
}

// evaluateMatchCondition evaluates the matchConditions of the Helm chart. For any other it
// returns known false, because evaluating it needs the CEL library of the API server.
func evaluateMatchCondition(condition admissionregistrationv1.MatchCondition, pod *corev1.Pod) (matches, known bool) {
	expression := strings.ReplaceAll(strings.Join(strings.Fields(condition.Expression), ""), `"`, `'`)
	if slices.Contains(noMirrorPods, expression) {
		return !isMirror(pod), true
	}
	return false, expression == "false"
}

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// templateLabelFix returns the command that changes the labels in the template of the
// workload. For a pod without a workload it replaces the pod. It returns "" if no
// command can meet the requirements.
func templateLabelFix(pod *corev1.Pod, missed []metav1.LabelSelectorRequirement) string {
	labels := labelArgs(missed)
	if len(labels) == 0 {
		return ""
	}
	if w := workloadOf(pod); w.kind != "" {
		var patched []string
		for _, label := range labels {
			switch key, value, set := strings.Cut(label, "="); {
			case set:
				patched = append(patched, fmt.Sprintf("%q:%q", key, value))
			default:
				patched = append(patched, fmt.Sprintf("%q:null", strings.TrimSuffix(label, "-")))
			}
		}
		return fmt.Sprintf(kubectl+` patch %s %s -n %s --type=merge -p='{"spec":{"template":{"metadata":{"labels":{%s}}}}}'`,
			w.kind, w.name, pod.Namespace, strings.Join(patched, ","))
	}
	return fmt.Sprintf(kubectl+" label --overwrite pod %s -n %s %s && %s", pod.Name, pod.Namespace, strings.Join(labels, " "), replacePodCommand(pod))
}

// skipSelector returns a selector for the pods that the webhook does not skip.
func skipSelector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: inject.SkipPodLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}}
}
