package doctor

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// workload is what makes a pod. Its kind is as kubectl takes it, or empty.
type workload struct{ kind, name string }

// podTemplateHash is the label of the pods of a Deployment's ReplicaSets
// (k8s.io/api/apps/v1, DefaultDeploymentUniqueLabelKey).
const podTemplateHash = "pod-template-hash"

// workloadOf finds it by what the pod says of its owner, without reading that: the
// name of a Deployment's ReplicaSet ends in the hash that its pods bear as a label.
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

// recreateCommand makes the pods of a workload anew, so that the webhook sees them.
func recreateCommand(pod *corev1.Pod) string {
	if w := workloadOf(pod); w.kind != "" {
		return fmt.Sprintf(kubectl+" rollout restart %s/%s -n %s", w.kind, w.name, pod.Namespace)
	}
	if metav1.GetControllerOf(pod) != nil {
		return fmt.Sprintf(kubectl+" delete pod %s -n %s", pod.Name, pod.Namespace)
	}
	return replacePodCommand(pod)
}

// recreateCleanCommand makes the pods of a workload anew, without what a webhook has given
// them: that of a pod that nothing else makes has to be taken out of it first.
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

// injectedPaths are the places of what the webhook gives to pods, the last of each
// list first, so that they stay right when one after the other is removed.
func injectedPaths(pod *corev1.Pod) []string {
	var places []string
	remove := func(list string, n int, ours func(int) bool) {
		for i := n - 1; i >= 0; i-- {
			if ours(i) {
				places = append(places, fmt.Sprintf("/spec/%s/%d", list, i))
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
	return places
}

// identityVariables are those that the webhook sets for an identity.
var identityVariables = []string{envRole, envTokenFile, envConfigFile, "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS", "AWS_STS_REGIONAL_ENDPOINTS"}

// replacePodCommand makes a pod anew that nothing else makes.
func replacePodCommand(pod *corev1.Pod) string {
	return fmt.Sprintf(kubectl+" get pod %s -n %s -o yaml | "+kubectl+" replace --force -f -", pod.Name, pod.Namespace)
}
