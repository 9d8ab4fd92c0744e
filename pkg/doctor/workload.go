package doctor

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// workload is the workload of a pod. Its kind is an argument of kubectl, or empty if there
// is none.
type workload struct{ kind, name string }

// podTemplateHash is the label of the pods of a Deployment's ReplicaSets
// (k8s.io/api/apps/v1, DefaultDeploymentUniqueLabelKey).
const podTemplateHash = "pod-template-hash"

// workloadOf returns the workload of a pod from the pod's owner reference and labels,
// without reading the owner. The name of a Deployment's ReplicaSet ends in the hash that
// its pods have as a label.
func workloadOf(pod *corev1.Pod) workload {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return workload{}
	}
	hash := pod.Labels[podTemplateHash]
	switch deployment, cut := strings.CutSuffix(owner.Name, "-"+hash); {
	case owner.Kind == "ReplicaSet" && hash != "" && cut:
		return workload{"deployment", deployment}
	case owner.Kind == "StatefulSet", owner.Kind == "DaemonSet":
		return workload{strings.ToLower(owner.Kind), owner.Name}
	default:
		return workload{}
	}
}

// recreateCommand returns the command that recreates the pods of the workload, so that the
// webhook is called for them.
func recreateCommand(pod *corev1.Pod) string {
	if w := workloadOf(pod); w.kind != "" {
		return fmt.Sprintf(kubectl+" rollout restart %s/%s -n %s", w.kind, w.name, pod.Namespace)
	}
	if metav1.GetControllerOf(pod) != nil {
		return fmt.Sprintf(kubectl+" delete pod %s -n %s", pod.Name, pod.Namespace)
	}
	return replacePodCommand(pod)
}

// recreateCleanCommand returns the command that recreates the pods of the workload without
// their injected fields. For a pod without an owner it removes these fields first.
func recreateCleanCommand(pod *corev1.Pod) string {
	removed := injectedPaths(pod)
	if metav1.GetControllerOf(pod) != nil || len(removed) == 0 {
		return recreateCommand(pod)
	}
	for i, at := range removed {
		removed[i] = fmt.Sprintf(`{"op":"remove","path":"%s"}`, at)
	}
	return fmt.Sprintf(kubectl+" get pod %s -n %s -o yaml | "+kubectl+" patch -f - --local --type=json -p='[%s]' -o yaml | "+kubectl+" replace --force -f -",
		pod.Name, pod.Namespace, strings.Join(removed, ","))
}

// injectedPaths returns the JSON pointers of the fields that a webhook injected. In each
// list the last one comes first, so that removing it does not shift the others.
func injectedPaths(pod *corev1.Pod) []string {
	var paths []string
	remove := func(list string, n int, isInjected func(int) bool) {
		for i := n - 1; i >= 0; i-- {
			if isInjected(i) {
				paths = append(paths, fmt.Sprintf("/spec/%s/%d", list, i))
			}
		}
	}
	isToken := func(volume string) bool {
		return strings.HasPrefix(volume, inject.VolumeName) && projectedToken(pod, volume) != nil
	}
	fromContainers := func(list string, containers []corev1.Container) {
		for i, c := range containers {
			remove(fmt.Sprintf("%s/%d/env", list, i), len(c.Env), func(at int) bool { return slices.Contains(identityVariables, c.Env[at].Name) })
			remove(fmt.Sprintf("%s/%d/volumeMounts", list, i), len(c.VolumeMounts), func(at int) bool { return isToken(c.VolumeMounts[at].Name) })
		}
	}
	fromContainers("containers", pod.Spec.Containers)
	fromContainers("initContainers", pod.Spec.InitContainers)
	remove("volumes", len(pod.Spec.Volumes), func(at int) bool { return isToken(pod.Spec.Volumes[at].Name) })
	return paths
}

// identityVariables are the variables that the webhook sets for an identity.
var identityVariables = []string{envRole, envTokenFile, envConfigFile, "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS", "AWS_STS_REGIONAL_ENDPOINTS"}

// replacePodCommand returns the command that recreates a pod without an owner.
func replacePodCommand(pod *corev1.Pod) string {
	return fmt.Sprintf(kubectl+" get pod %s -n %s -o yaml | "+kubectl+" replace --force -f -", pod.Name, pod.Namespace)
}
