package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// seedNamespaces is the number of namespaces for the ServiceAccounts.
	seedNamespaces = 200
	// seedWorkers is the number of concurrent requests. More are not faster.
	seedWorkers = 32
	// withRole means that one in this number of ServiceAccounts has a role.
	withRole = 10
)

// protobufClient returns a client that uses protobuf, like the webhook. JSON would use most
// of the API server's CPU time.
func protobufClient(cluster *controlplane.ControlPlane) (kubernetes.Interface, error) {
	config := cluster.Config()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(config)
}

// seed creates the ServiceAccounts with numbers in [from, to), and their namespaces.
func seed(ctx context.Context, client kubernetes.Interface, from, to int) error {
	if from == 0 {
		for n := range seedNamespaces {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: seedNamespace(n)}}
			if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create namespace %s: %w", namespace.Name, err)
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for worker := range seedWorkers {
		group.Go(func() error {
			for n := from + worker; n < to; n += seedWorkers {
				account := seedAccount(n)
				if _, err := client.CoreV1().ServiceAccounts(account.Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
					return fmt.Errorf("create ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func seedNamespace(n int) string { return fmt.Sprintf("team-%03d", n%seedNamespaces) }

// seedAccount returns a ServiceAccount as a Helm chart creates it.
func seedAccount(n int) *corev1.ServiceAccount {
	name := fmt.Sprintf("service-%06d", n)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: seedNamespace(n),
		Name:      name,
		Labels: map[string]string{
			"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name,
			"app.kubernetes.io/version": "1.2.3", "app.kubernetes.io/managed-by": "Helm",
		},
		Annotations: map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": seedNamespace(n)},
	}}
	if n%withRole == 0 {
		account.Annotations["eks.amazonaws.com/role-arn"] = "arn:aws:iam::111122223333:role/" + name
	}
	return account
}
