package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// remakeCommand makes the pods of a workload anew, so that the webhook sees them.
func remakeCommand(pod *corev1.Pod) string {
	if w := workloadOf(pod); w.kind != "" {
		return fmt.Sprintf("kubectl rollout restart %s/%s -n %s", w.kind, w.name, pod.Namespace)
	}
	if metav1.GetControllerOf(pod) != nil {
		return fmt.Sprintf("kubectl delete pod %s -n %s", pod.Name, pod.Namespace)
	}
	return replaceCommand(pod)
}

// replaceCommand makes a pod anew that nothing else makes.
func replaceCommand(pod *corev1.Pod) string {
	return fmt.Sprintf("kubectl get pod %s -n %s -o yaml | kubectl replace --force -f -", pod.Name, pod.Namespace)
}
