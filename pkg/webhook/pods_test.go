package webhook_test

import (
	"encoding/json"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const testUID = "5b9ef4c8-1b4e-4f3a-9d2e-2f1f0f6f6d10"

// reviewOf returns the AdmissionReview that an API server sends when pod is
// created.
func reviewOf(pod *corev1.Pod) []byte {
	return reviewWith(pod, func(*admissionv1.AdmissionReview) {})
}

func reviewWith(pod *corev1.Pod, change func(*admissionv1.AdmissionReview)) []byte {
	object, err := json.Marshal(pod)
	if err != nil {
		panic(err)
	}
	kind := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
	resource := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	review := &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: testUID, Kind: kind, Resource: resource, RequestKind: &kind, RequestResource: &resource,
			Namespace: "default", Operation: admissionv1.Create,
			UserInfo: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:daemon-set-controller",
				Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			},
			Object:  runtime.RawExtension{Raw: object},
			Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"kube-controller-manager"}`)},
		},
	}
	change(review)
	body, err := json.Marshal(review)
	if err != nil {
		panic(err)
	}
	return body
}

func podWith(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "app", Namespace: "default",
			Labels: map[string]string{"app": "app", "pod-template-hash": "5d4f8c7b9"},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(managedFields(containers)),
			}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app",
			RestartPolicy:      corev1.RestartPolicyAlways,
			DNSPolicy:          corev1.DNSClusterFirst,
			SecurityContext:    &corev1.PodSecurityContext{},
			SchedulerName:      "default-scheduler",
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
				{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			},
			Volumes: []corev1.Volume{{
				Name: "kube-api-access-x7k2p",
				VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
				}}},
			}},
			Containers: containers,
		},
	}
}

// managedFields returns the fields that server-side apply would track for the containers.
// They are a large part of the JSON of a real pod, and the webhook does not use them.
func managedFields(containers []corev1.Container) string {
	var fields []string
	for _, c := range containers {
		var env []string
		for _, e := range c.Env {
			env = append(env, fmt.Sprintf(`"k:{\"name\":\"%s\"}":{".":{},"f:name":{},"f:value":{}}`, e.Name))
		}
		fields = append(fields, fmt.Sprintf(`"k:{\"name\":\"%s\"}":{".":{},"f:image":{},"f:resources":{},"f:env":{%s}}`, c.Name, strings.Join(env, ",")))
	}
	return `{"f:spec":{"f:containers":{` + strings.Join(fields, ",") + `}}}`
}

func container(name string, env int) corev1.Container {
	c := corev1.Container{
		Name:                     name,
		Image:                    "registry.example.com/team/" + name + ":1.2.3",
		ImagePullPolicy:          corev1.PullIfNotPresent,
		TerminationMessagePath:   "/dev/termination-log",
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("200Mi"),
		}},
		VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-x7k2p", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
	}
	for i := range env {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_NUMBER_%d", i), Value: fmt.Sprintf("https://service-%d.example.com/some/path", i)})
	}
	return c
}

// smallPod returns a pod whose review has about 2.5 KB.
func smallPod() *corev1.Pod { return podWith(container("app", 1)) }

// cloudWatchAgentPod returns a pod of the agent's DaemonSet. Its review has about 6 KB.
func cloudWatchAgentPod() *corev1.Pod {
	agent := container("cloudwatch-agent", 4)
	pod := podWith(agent)
	paths := map[string]string{
		"rootfs": "/rootfs", "dockersock": "/var/run/docker.sock", "varlibdocker": "/var/lib/docker",
		"containerdsock": "/run/containerd/containerd.sock", "sys": "/sys", "devdisk": "/dev/disk",
	}
	for _, name := range []string{"rootfs", "dockersock", "varlibdocker", "containerdsock", "sys", "devdisk"} {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name:         name,
			VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: paths[name]}},
		})
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: name, MountPath: paths[name], ReadOnly: true})
	}
	pod.Annotations = map[string]string{"description": strings.Repeat("collects metrics and logs of the node; ", 30)}
	return pod
}

// largePod returns a pod with 6 containers and 150 variables. Its review has about 40 KB.
func largePod() *corev1.Pod {
	var containers []corev1.Container
	for i := range 6 {
		containers = append(containers, container(fmt.Sprintf("container-%d", i), 25))
	}
	pod := podWith(containers...)
	pod.Annotations = map[string]string{"config": strings.Repeat(`{"key":"value","list":[1,2,3]}`, 300)}
	return pod
}
