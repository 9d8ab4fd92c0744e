package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
)

// TestRestart_underLoad stops and kills the webhook and starts it again. Meanwhile
// clients create pods and retry rejected creations.
func TestRestart_underLoad(t *testing.T) {
	client := newClient(t)
	webhook := waitRegistered(t, client)
	namespace := newNamespace(t, client)
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, client, namespace, name)
	}

	load := startLoad(t, client, namespace)
	for range 3 {
		load.waitForMore(t, 100)
		if err := webhook.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		load.waitForMore(t, 100)
		webhook.Kill()
		if err := webhook.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	load.waitForMore(t, 100)
	load.stop(t)

	if load.refused.Load() == 0 {
		t.Error("got no rejected pod: the restarts did not overlap with the load")
	}
	pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(pods.Items)) != load.created.Load() {
		t.Errorf("got %d stored pods, want the %d created ones", len(pods.Items), load.created.Load())
	}
	for i := range pods.Items {
		if roleOf(&pods.Items[i]) != appRole {
			t.Errorf("pod %s has no role", pods.Items[i].Name)
		}
	}
	t.Logf("created %d pods, %d attempts rejected", load.created.Load(), load.refused.Load())
}

// load is a stream of pod creations.
type load struct {
	created, refused atomic.Int64
	// why is the last rejection's error.
	why    atomic.Value
	cancel context.CancelFunc
	group  *errgroup.Group
}

// startLoad creates pods from several clients until it is stopped. A creation that the
// API server rejects because it cannot call the webhook is counted and retried. Any
// other failure ends the load.
func startLoad(t *testing.T, client kubernetes.Interface, namespace string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	l.group, ctx = errgroup.WithContext(ctx)
	for n := range clients {
		l.group.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				account := []string{"first", "second"}[i%2]
				if err := l.create(ctx, client, namespace, fmt.Sprintf("pod-%d-%d", n, i), account); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t.Cleanup(cancel)
	return l
}

func (l *load) create(ctx context.Context, client kubernetes.Interface, namespace, name, account string) error {
	// A creation in progress continues after the load is stopped, so that the counted
	// pods are the stored ones.
	finish := context.WithoutCancel(ctx)
	return wait.PollUntilContextTimeout(finish, 10*time.Millisecond, patience, true, func(finish context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(namespace).Create(finish, podOf(name, account), metav1.CreateOptions{})
		switch {
		case err == nil:
			l.created.Add(1)
			return true, nil
		case apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook"):
			l.refused.Add(1)
			l.why.Store(err.Error())
			return false, nil
		default:
			return false, err
		}
	})
}

func (l *load) waitForMore(t *testing.T, pods int64) {
	t.Helper()
	goal := l.created.Load() + pods
	eventually(t, "more pods are created", func(context.Context) error {
		if got := l.created.Load(); got < goal {
			return fmt.Errorf("created %d of %d pods", got, goal)
		}
		return nil
	})
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	if err := l.group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestRestart_graceful restarts one replica after the other, as a rolling update does.
// Meanwhile clients create pods with failurePolicy Fail.
func TestRestart_graceful(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail", "shutdownDelaySeconds=2"}})
	namespace := newNamespace(t, client)
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, client, namespace, name)
	}
	load := startLoad(t, client, namespace)
	for range 3 {
		for _, replica := range started.Replicas {
			load.waitForMore(t, 100)
			if err := replica.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := replica.Start(); err != nil {
				t.Fatal(err)
			}
			if err := replica.WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	load.waitForMore(t, 100)
	load.stop(t)
	if got := load.refused.Load(); got != 0 {
		t.Errorf("got %d failed calls of the webhook, want 0; last error: %v", got, load.why.Load())
	}
}
