package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

const (
	// rounds is the number of attempts of each race. A webhook that used only its watch
	// would lose up to 6% of them.
	rounds = 2000
	// accounts is the number of ServiceAccounts or Namespaces, which are written in turn.
	accounts = 4 * clients
	newRole  = "arn:aws:iam::111122223333:role/new"
)

// setRole sets the role of a ServiceAccount. An empty value removes it.
func setRole(ctx context.Context, client kubernetes.Interface, namespace, name, value string) error {
	_, err := client.CoreV1().ServiceAccounts(namespace).Patch(ctx, name, types.MergePatchType, annotationPatch(roleAnnotation, value), metav1.PatchOptions{})
	return err
}

func annotationPatch(annotation, value string) []byte {
	if value == "" {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, annotation)
	}
	return fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, annotation, value)
}

// roleIn returns the role that an attempt writes. Each attempt has another one, so that
// the role of an earlier attempt is noticed.
func roleIn(round int) string { return fmt.Sprintf("%s-%d", appRole, round) }

// TestPodCreatedRightAfterServiceAccount writes a ServiceAccount and creates a pod of it
// as soon as the write has returned. Several clients repeat this.
func TestPodCreatedRightAfterServiceAccount(t *testing.T) {
	client := newClient(t)
	waitRegistered(t, client)
	for _, test := range []struct {
		name string
		// fresh reports whether each round has its own ServiceAccount, instead of one of
		// the existing ones with a role.
		fresh bool
		// write writes the ServiceAccount; want is the pod's role afterwards.
		write func(ctx context.Context, namespace, name string, round int) error
		want  func(round int) string
	}{
		{"was created", true, func(ctx context.Context, namespace, name string, round int) error {
			_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, serviceAccount(name, roleIn(round)), metav1.CreateOptions{})
			return err
		}, roleIn},
		{"was annotated", true, func(ctx context.Context, namespace, name string, round int) error {
			if _, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, serviceAccount(name, ""), metav1.CreateOptions{}); err != nil {
				return err
			}
			return setRole(ctx, client, namespace, name, roleIn(round))
		}, roleIn},
		{"got another role", false, func(ctx context.Context, namespace, name string, round int) error {
			return setRole(ctx, client, namespace, name, roleIn(round))
		}, roleIn},
		{"was deleted and recreated", false, func(ctx context.Context, namespace, name string, round int) error {
			err := client.CoreV1().ServiceAccounts(namespace).Delete(ctx, name, metav1.DeleteOptions{})
			if err != nil {
				return err
			}
			_, err = client.CoreV1().ServiceAccounts(namespace).Create(ctx, serviceAccount(name, roleIn(round)), metav1.CreateOptions{})
			return err
		}, roleIn},
		{"lost its role", false, func(ctx context.Context, namespace, name string, round int) error {
			if err := setRole(ctx, client, namespace, name, roleIn(round)); err != nil {
				return err
			}
			return setRole(ctx, client, namespace, name, "")
		}, func(int) string { return "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := newNamespace(t, client)
			if !test.fresh {
				for n := range accounts {
					createServiceAccount(t, client, namespace, fmt.Sprintf("app-%d", n))
				}
			}
			race(t, func(ctx context.Context, turn, round int) (string, error) {
				name := fmt.Sprintf("app-%d", turn)
				if test.fresh {
					name = fmt.Sprintf("app-%d", round)
				}
				if err := test.write(ctx, namespace, name, round); err != nil {
					return "", err
				}
				pod, err := client.CoreV1().Pods(namespace).Create(ctx, podOf(fmt.Sprintf("pod-%d", round), name), metav1.CreateOptions{})
				if err != nil {
					return "", err
				}
				if got, want := roleOf(pod), test.want(round); got != want {
					return fmt.Sprintf("got role %q, want %q", got, want), nil
				}
				return "", nil
			})
		})
	}
}

// TestPodCreatedRightAfterNamespace_permissionWithdrawn removes a permission from a
// Namespace and creates a pod that needs it as soon as the write has returned.
func TestPodCreatedRightAfterNamespace_permissionWithdrawn(t *testing.T) {
	const annotation = "eks.amazonaws.com/permitted-roles"
	client := newClient(t)
	registeredAs(t, client, webhookprocess.RegisterOptions{}, "--role-policy=on")
	var namespaces []string
	for range accounts {
		namespace := newNamespace(t, client)
		createServiceAccount(t, client, namespace, "app")
		namespaces = append(namespaces, namespace)
	}
	race(t, func(ctx context.Context, turn, round int) (string, error) {
		namespace := namespaces[turn]
		for _, roles := range []string{"app", "other"} {
			if _, err := client.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, annotationPatch(annotation, roles), metav1.PatchOptions{}); err != nil {
				return "", err
			}
		}
		_, err := client.CoreV1().Pods(namespace).Create(ctx, podOf(fmt.Sprintf("pod-%d", round), "app"), metav1.CreateOptions{})
		if err == nil {
			return "the pod was created, want a denial", nil
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), appRole) {
			return "", err
		}
		return "", nil
	})
}

// race runs rounds of attempt in clients goroutines. Each goroutine has its own objects,
// by turn in [0, accounts). attempt describes a wrong pod; an error ends the race.
func race(t *testing.T, attempt func(ctx context.Context, turn, round int) (wrong string, err error)) {
	t.Helper()
	var next, wrong atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for client := range clients {
		group.Go(func() error {
			for turn := client; ; turn = (turn + clients) % accounts {
				round := int(next.Add(1)) - 1
				if round >= rounds {
					return nil
				}
				found, err := attempt(ctx, turn, round)
				if err != nil {
					return err
				}
				if found != "" && wrong.Add(1) <= 3 {
					t.Logf("round %d: %s", round, found)
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := wrong.Load(); got != 0 {
		t.Errorf("got %d of %d wrong pods, want 0", got, rounds)
	}
}
