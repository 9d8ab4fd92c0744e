package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// agentPod returns the pod that the DaemonSet's controller would create.
func (c *cluster) agentPod(ctx context.Context) (*corev1.Pod, error) {
	daemonSet, err := c.client.AppsV1().DaemonSets(namespace).Get(ctx, agent, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get DaemonSet %s/%s: %w", namespace, agent, err)
	}
	template := daemonSet.Spec.Template.DeepCopy()
	template.GenerateName = daemonSet.Name + "-"
	template.Namespace = daemonSet.Namespace
	template.OwnerReferences = []metav1.OwnerReference{
		*metav1.NewControllerRef(daemonSet, appsv1.SchemeGroupVersion.WithKind("DaemonSet")),
	}
	return &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}, nil
}

// unrelatedPod returns a pod of the namespace's default ServiceAccount, which
// has no role.
func unrelatedPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "bystander", Namespace: namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// createPod creates a pod and returns it as stored. With metav1.DryRunAll it
// returns the pod that would be stored.
func (c *cluster) createPod(ctx context.Context, pod *corev1.Pod, dryRun ...string) (*corev1.Pod, error) {
	created, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{
		DryRun:          dryRun,
		FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return nil, fmt.Errorf("create pod: %w", err)
	}
	return created, nil
}
