package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// appReport is a line of the application's output.
type appReport struct {
	Time    time.Time `json:"time"`
	ARN     string    `json:"arn"`
	Error   string    `json:"error"`
	User    int       `json:"user"`
	Expires time.Time `json:"expires"`
	Token   struct {
		Owner   int       `json:"owner"`
		Mode    string    `json:"mode"`
		Written time.Time `json:"written"`
	} `json:"token"`
}

// newNamespace creates a namespace and deletes it at the end of the test.
func newNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	made, err := world.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.client.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

// giveRole creates a ServiceAccount and its role with kubectl irsa. It returns the
// start of the ARN of the role's sessions.
func giveRole(t *testing.T, namespace, account string) (arn string) {
	t.Helper()
	role := namespace + "-" + account
	must(t, "serviceaccount", "create", account, "--namespace", namespace, "--role-name", role, "--approve")
	return assumed(role)
}

// assumed returns the start of the ARNs of a role's sessions.
func assumed(role string) string { return "arn:aws:sts::111122223333:assumed-role/" + role + "/" }

// template returns a pod template of the application, with the label app=name. It
// has no AWS settings.
func template(name, account string, args ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			ServiceAccountName: account,
			Containers:         []corev1.Container{{Name: "app", Image: application, ImagePullPolicy: corev1.PullNever, Args: args}},
		},
	}
}

// createPod creates a pod of that template with the change.
func createPod(t *testing.T, namespace, account string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	of := template(account, account)
	pod := &corev1.Pod{ObjectMeta: of.ObjectMeta, Spec: of.Spec}
	pod.Name = account
	if change != nil {
		change(pod)
	}
	created, err := world.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// logOutput returns the last line of a container's log, of the newest pod that the
// selector matches.
func logOutput(ctx context.Context, namespace, selector, container string) (appReport, error) {
	pods, err := world.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return appReport{}, err
	}
	if len(pods.Items) == 0 {
		return appReport{}, errors.New("no pod has labels " + selector)
	}
	newest := pods.Items[0]
	for _, pod := range pods.Items[1:] {
		if newest.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest = pod
		}
	}
	log, err := world.client.CoreV1().Pods(namespace).GetLogs(newest.Name, &corev1.PodLogOptions{Container: container, TailLines: new(int64(1))}).DoRaw(ctx)
	if err != nil {
		return appReport{}, fmt.Errorf("%w; pod phase %s, containers %+v", err, newest.Status.Phase, newest.Status.ContainerStatuses)
	}
	var last appReport
	if err := json.Unmarshal(bytes.TrimSpace(log), &last); err != nil {
		return appReport{}, fmt.Errorf("%w: %s", err, log)
	}
	return last, nil
}

// expectIdentity waits until a container reports the identity arn.
func expectIdentity(t *testing.T, namespace, selector, container, arn string) appReport {
	t.Helper()
	var last appReport
	eventually(t, "pod "+selector+" is "+arn, func(ctx context.Context) (err error) {
		if last, err = logOutput(ctx, namespace, selector, container); err != nil {
			return err
		}
		if !strings.HasPrefix(last.ARN, arn) {
			return fmt.Errorf("got %+v", last)
		}
		return nil
	})
	return last
}

// roleOf returns the role in the environment of a pod's first container.
func roleOf(pod *corev1.Pod) string {
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.Name == "AWS_ROLE_ARN" {
			return variable.Value
		}
	}
	return ""
}
