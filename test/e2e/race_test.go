package e2e_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// rounds is how often each race is run. The reference webhook loses 1 to 3 in
// 100 of them.
const rounds = 2000

func TestAPodRightAfterItsServiceAccountHasTheRole(t *testing.T) {
	raceForRole(t, func(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
		_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, serviceAccount(name, appRole), metav1.CreateOptions{})
		return err
	})
}

func TestAPodRightAfterTheAnnotationHasTheRole(t *testing.T) {
	annotation := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, roleAnnotation, appRole)
	raceForRole(t, func(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
		accounts := client.CoreV1().ServiceAccounts(namespace)
		if _, err := accounts.Create(ctx, serviceAccount(name, ""), metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := accounts.Patch(ctx, name, types.MergePatchType, annotation, metav1.PatchOptions{})
		return err
	})
}

// raceForRole gives a new ServiceAccount its role and creates a pod of it at
// once, again and again from several clients.
func raceForRole(t *testing.T, giveRole func(ctx context.Context, client kubernetes.Interface, namespace, name string) error) {
	client := newClient(t)
	registered(t, client)
	namespace := newNamespace(t, client)

	var without atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(clients)
	for i := range rounds {
		group.Go(func() error {
			name := fmt.Sprintf("app-%d", i)
			if err := giveRole(ctx, client, namespace, name); err != nil {
				return err
			}
			pod, err := client.CoreV1().Pods(namespace).Create(ctx, podOf(name, name), metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if roleOf(pod) != appRole {
				without.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := without.Load(); got != 0 {
		t.Errorf("%d of %d pods have no role", got, rounds)
	}
}
