package webhookprocess

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

const (
	probeNamespace = "default"
	probeName      = "pod-identity-webhook-probe"
	probeInterval  = 20 * time.Millisecond
	probeTimeout   = 30 * time.Second
)

var errNotInjected = errors.New("got a pod without a role of a ServiceAccount with a role")

// waitCalled creates pods of a ServiceAccount with a role, as dry runs, until one has the
// role. It deletes the ServiceAccount before it returns.
func waitCalled(ctx context.Context, client kubernetes.Interface, registration RegisterOptions) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	accounts := client.CoreV1().ServiceAccounts(probeNamespace)
	prefix := registration.AnnotationPrefix
	if prefix == "" {
		prefix = annotationPrefix
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name:        probeName,
		Annotations: map[string]string{prefix + "/" + roleAnnotation: "arn:aws:iam::111122223333:role/probe"},
	}}
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ServiceAccount %s/%s: %w", probeNamespace, probeName, err)
	}
	defer func() {
		// The deletion runs also if ctx has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		if deleteErr := accounts.Delete(ctx, probeName, metav1.DeleteOptions{}); deleteErr != nil {
			err = errors.Join(err, fmt.Errorf("delete ServiceAccount %s/%s: %w", probeNamespace, probeName, deleteErr))
		}
	}()

	var last error
	err = wait.PollUntilContextCancel(ctx, probeInterval, true, func(ctx context.Context) (bool, error) {
		last = probe(ctx, client)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

func probe(ctx context.Context, client kubernetes.Interface) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: probeName},
		Spec: corev1.PodSpec{
			ServiceAccountName: probeName,
			Containers:         []corev1.Container{{Name: "probe", Image: "probe"}},
		},
	}
	admitted, err := client.CoreV1().Pods(probeNamespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	for _, env := range admitted.Spec.Containers[0].Env {
		if env.Name == "AWS_ROLE_ARN" {
			return nil
		}
	}
	return errNotInjected
}
