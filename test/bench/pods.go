package main

import (
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// recordedPod is a pod as a controller of kube-controller-manager creates it.
type recordedPod struct {
	name       string
	controller string
	pod        *corev1.Pod
}

// recordedPods returns the pods that are measured, in equal shares.
func recordedPods() ([]recordedPod, error) {
	agent, err := agentPod()
	if err != nil {
		return nil, err
	}
	return []recordedPod{
		{"small", "replicaset-controller", smallPod()},
		{"cloudwatch-agent", "daemon-set-controller", agent},
		{"large", "replicaset-controller", largePod()},
	}, nil
}

// namespace is the namespace of the applications.
const namespace = "shop"

// replicaSetPod returns a pod as the ReplicaSet of a Deployment creates it.
func replicaSetPod(name string, annotations map[string]string, spec corev1.PodSpec) *corev1.Pod {
	const hash = "5d4f8c7b9"
	replicaSet := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + hash, UID: types.UID("9d3c0a5e-7c1b-4f0e-8a56-2f6a1f1f5c11")}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: replicaSet.Name + "-",
			Labels:          map[string]string{"app": name, "pod-template-hash": hash},
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(replicaSet, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec: spec,
	}
}

// smallPod returns a pod with a single container and few settings.
func smallPod() *corev1.Pod {
	return replicaSetPod("web", nil, corev1.PodSpec{
		ServiceAccountName: "web",
		Containers:         []corev1.Container{{Name: "web", Image: "registry.example.com/shop/web:1.2.3"}},
	})
}

// agentPod returns a pod of the CloudWatch agent's DaemonSet.
func agentPod() (*corev1.Pod, error) {
	manifest, err := os.ReadFile(repopath.Path("examples", "cloudwatch-agent", "daemonset.yaml"))
	if err != nil {
		return nil, err
	}
	var daemonSet appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(manifest, &daemonSet); err != nil {
		return nil, fmt.Errorf("read DaemonSet of the CloudWatch agent: %w", err)
	}
	daemonSet.UID = "0b0f5dc7-4f4b-4d0c-9c43-6a4f9f1f7f6b"
	pod := &corev1.Pod{ObjectMeta: daemonSet.Spec.Template.ObjectMeta, Spec: daemonSet.Spec.Template.Spec}
	pod.Namespace, pod.GenerateName = daemonSet.Namespace, daemonSet.Name+"-"
	pod.Labels["controller-revision-hash"] = "6b8f9c7d5d"
	pod.Labels["pod-template-generation"] = "1"
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&daemonSet, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))}
	// The DaemonSet controller sets the node with an affinity, and adds tolerations so that
	// the pod stays on nodes that other pods must leave.
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"ip-10-0-42-17.example.com"}}},
		}}},
	}}
	for _, taint := range []struct {
		key    string
		effect corev1.TaintEffect
	}{
		{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule},
	} {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: taint.key, Operator: corev1.TolerationOpExists, Effect: taint.effect})
	}
	return pod, nil
}

// The number of the large pod's containers, and of the variables of each.
const (
	largeContainers = 6
	largeVariables  = 25
)

// largePod returns a pod as large as those of applications with sidecars.
func largePod() *corev1.Pod {
	spec := corev1.PodSpec{ServiceAccountName: "checkout"}
	for n := range largeContainers {
		spec.Containers = append(spec.Containers, largeContainer(fmt.Sprintf("checkout-%d", n)))
	}
	return replicaSetPod("checkout", map[string]string{
		"prometheus.io/scrape": "true",
		"example.com/config":   strings.Repeat(`{"route":"/api/v1/orders","retries":3,"timeout":"2s"},`, 60),
	}, spec)
}

func largeContainer(name string) corev1.Container {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 10}
	resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("200Mi")}
	c := corev1.Container{
		Name: name, Image: "registry.example.com/shop/" + name + ":1.2.3",
		Resources:     corev1.ResourceRequirements{Requests: resources, Limits: resources},
		LivenessProbe: probe, ReadinessProbe: probe,
	}
	for n := range largeVariables {
		variable := corev1.EnvVar{Name: fmt.Sprintf("CHECKOUT_SETTING_%d", n), Value: fmt.Sprintf("https://service-%d.shop.example.com/some/path?option=%d", n, n)}
		if n%5 == 4 { // like passwords
			variable.Value = ""
			variable.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "checkout-credentials"}, Key: fmt.Sprintf("setting-%d", n),
			}}
		}
		c.Env = append(c.Env, variable)
	}
	return c
}
