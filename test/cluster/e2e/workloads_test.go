package e2e_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// The test applies the example unchanged. The image of the agent has the same name but
// another program, because the real agent needs AWS.
func TestExampleAgent(t *testing.T) {
	if err := world.ApplyExample(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, "serviceaccount", "create", "cloudwatch-agent", "--namespace", walkthrough.ExampleNamespace, "--role-name", "cloudwatch-agent",
		"--attach-policy-arn", "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy", "--override-existing-serviceaccounts", "--approve")
	expectIdentity(t, walkthrough.ExampleNamespace, "name=cloudwatch-agent", "cloudwatch-agent", assumed("cloudwatch-agent"))
}

func TestWorkloads(t *testing.T) {
	namespace := newNamespace(t, nil)
	client := world.client
	selector := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	}
	for name, create := range map[string]func(string) error{
		"deployment": func(name string) error {
			_, err := client.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: selector(name), Template: template(name, name)},
			}, metav1.CreateOptions{})
			return err
		},
		"statefulset": func(name string) error {
			_, err := client.AppsV1().StatefulSets(namespace).Create(t.Context(), &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       appsv1.StatefulSetSpec{Selector: selector(name), Template: template(name, name)},
			}, metav1.CreateOptions{})
			return err
		},
		"job": func(name string) error {
			of := template(name, name, "once")
			of.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := client.BatchV1().Jobs(namespace).Create(t.Context(), &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: of, BackoffLimit: new(int32(0))},
			}, metav1.CreateOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			arn := giveRole(t, namespace, name)
			if err := create(name); err != nil {
				t.Fatal(err)
			}
			expectIdentity(t, namespace, "app="+name, "app", arn)
		})
	}
	eventually(t, "the Job succeeds", func(ctx context.Context) error {
		job, err := client.BatchV1().Jobs(namespace).Get(ctx, "job", metav1.GetOptions{})
		if err == nil && job.Status.Succeeded != 1 {
			err = fmt.Errorf("the Job's status is %+v", job.Status)
		}
		return err
	})
}

// The kubelet sets the owner of the token file to the pod's user if all containers
// have the same user.
func TestNonRootContainer(t *testing.T) {
	namespace := newNamespace(t, nil)
	arn := giveRole(t, namespace, "app")
	createPod(t, namespace, "app", func(pod *corev1.Pod) {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(1000))}
	})
	got := expectIdentity(t, namespace, "app=app", "app", arn)
	if got.User != 1000 || got.Token.Owner != 1000 || got.Token.Mode != "-rw-------" {
		t.Errorf("got user %d, and a token file of user %d with mode %s; want user 1000 and a file that only that user can read", got.User, got.Token.Owner, got.Token.Mode)
	}
}

func TestEphemeralContainer(t *testing.T) {
	namespace := newNamespace(t, nil)
	arn := giveRole(t, namespace, "app")
	createPod(t, namespace, "app", nil)
	expectIdentity(t, namespace, "app=app", "app", arn)
	kubectl(t, "--namespace", namespace, "debug", "pod/app", "--image="+application, "--image-pull-policy=Never", "--container=debugger")
	expectIdentity(t, namespace, "app=app", "debugger", arn)
}

// With the guard: it does not deny a pod whose ServiceAccount has no role.
func TestPodWithoutRole(t *testing.T) {
	namespace := newNamespace(t, nil)
	if _, err := world.client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := createPod(t, namespace, "app", func(pod *corev1.Pod) {
		// Without this, the SDK waits long for the instance metadata service.
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"}}
	})
	if len(pod.Spec.Volumes) != 1 || len(pod.Spec.Containers[0].Env) != 1 {
		t.Errorf("got volumes %+v and variables %+v, want none injected", pod.Spec.Volumes, pod.Spec.Containers[0].Env)
	}
	eventually(t, "the application runs and has no credentials", func(ctx context.Context) error {
		got, err := logOutput(ctx, namespace, "app=app", "app")
		if err == nil && (got.ARN != "" || got.Error == "") {
			t.Fatalf("got %+v, want no identity", got)
		}
		return err
	})
}
