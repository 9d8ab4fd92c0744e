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

// unmetRequirements returns the requirements of a selector that labels do not meet. nil selects
// everything, as it does for the API server.
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

// labelArgs returns what makes labels meet the requirements, as arguments of kubectl
// label, or nothing if labels that the API server sets stand against it.
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

// evaluateNamespaceSelector says whether the webhook is called for the pods of a namespace.
func evaluateNamespaceSelector(r *registration, namespace *corev1.Namespace) Finding {
	missed := unmetRequirements(r.webhook.NamespaceSelector, namespace.Labels)
	if len(missed) == 0 {
		return newFinding(OK, "the namespaceSelector matches namespace %s", namespace.Name)
	}
	finding := newFinding(Broken, "the webhook is not called for namespace %s", namespace.Name).
		withReason("the namespaceSelector of MutatingWebhookConfiguration %s wants %s", r.name(), formatRequirements(missed))
	arguments := labelArgs(missed)
	if len(arguments) == 0 {
		finding.Why += ", which is this very namespace: run the workload in another"
		return finding
	}
	return finding.withFix(kubectl+" label --overwrite namespace %s %s", namespace.Name, strings.Join(arguments, " "))
}

// evaluatePodSelected says whether the webhook is called for a pod as it is now.
func evaluatePodSelected(r *registration, pod *corev1.Pod) Finding {
	if missed := unmetRequirements(r.webhook.ObjectSelector, pod.Labels); len(missed) > 0 {
		finding := newFinding(Broken, "the webhook is not called for pod %s", pod.Name).
			withReason("the objectSelector of MutatingWebhookConfiguration %s wants %s: take care of that in the template that the pod is made from", r.name(), formatRequirements(missed))
		if slices.ContainsFunc(missed, func(r metav1.LabelSelectorRequirement) bool { return r.Key == inject.SkipPodLabel }) {
			finding.Why = fmt.Sprintf("its label %s says to leave it alone: remove it from the template that the pod is made from", inject.SkipPodLabel)
		}
		return finding.withFix("%s", templateLabelFix(pod, missed))
	}
	var unknown []string
	for _, condition := range r.webhook.MatchConditions {
		switch matches, known := evaluateMatchCondition(condition, pod); {
		case !known:
			unknown = append(unknown, condition.Name)
		case !matches:
			return newFinding(Broken, "the webhook is not called for pod %s", pod.Name).
				withReason("the matchCondition %s of MutatingWebhookConfiguration %s leaves it out: it is the picture of a static pod, which can have no ServiceAccount", condition.Name, r.name())
		}
	}
	if len(unknown) > 0 {
		return newFinding(Unknown, "cannot tell whether the matchConditions match pod %s", pod.Name).
			withReason("only those of our own chart are evaluated here, and not %s; the trial pod, if it can be made, shows what the API server makes of them", strings.Join(unknown, ", "))
	}
	return newFinding(OK, "objectSelector and matchConditions match pod %s", pod.Name)
}

// noMirrorPods are the conditions of our chart by which mirror pods are left out,
// without blanks.
var noMirrorPods = []string{
	`!has(object.metadata.annotations)||!('kubernetes.io/config.mirror'inobject.metadata.annotations)`,
}

// evaluateMatchCondition evaluates a condition, if it is known: it takes the API server's own
// library to evaluate any other.
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

// templateLabelFix changes the labels of a workload's template or, of a pod that has
// no workload, makes it anew with other labels.
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

// skipSelector selects the pods that are not to be left alone.
func skipSelector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: inject.SkipPodLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}}
}
