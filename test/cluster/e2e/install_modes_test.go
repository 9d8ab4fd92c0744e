package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	optIn       = "eks.amazonaws.com/pod-identity-webhook"
	clusterWide = "mode=cluster-wide"
	onlyOptIn   = "mode=opt-in"
	// creators is the number of goroutines that create pods.
	creators = 4
	// upgrades is the number of consecutive upgrades in each mode.
	upgrades = 2
)

// upgrade upgrades the chart with other values than the default ones of these tests. It
// restores those at the end of the test.
func upgrade(t *testing.T, values ...string) {
	t.Helper()
	if err := install(t.Context(), values...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := install(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestOptIn(t *testing.T) {
	served, other := newNamespace(t, map[string]string{optIn: "enabled"}), newNamespace(t, nil)
	arn := giveRole(t, served, "app")
	giveRole(t, other, "app")
	upgrade(t, onlyOptIn)
	// Changes of webhook configurations and policies reach the API server's cache a
	// moment later.
	eventually(t, "pods of the other namespace are skipped", func(ctx context.Context) error {
		of := template("dry-run", "app")
		pod, err := world.client.CoreV1().Pods(other).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "dry-run"}, Spec: of.Spec,
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && roleOf(pod) != "" {
			err = errors.New("the pod got a role")
		}
		return err
	})
	createPod(t, served, "app", nil)
	expectIdentity(t, served, "app=app", "app", arn)
	if pod := createPod(t, other, "app", nil); roleOf(pod) != "" || len(pod.Spec.Volumes) != 1 {
		t.Errorf("got role %s and volumes %+v in a namespace without the opt-in label, want no role", roleOf(pod), pod.Spec.Volumes)
	}
}

// stream creates pods continuously and counts the results.
type stream struct {
	created, missed, refused atomic.Int64
	mu                       sync.Mutex
	why                      error
}

// run creates pods until the context ends. Each is expected to have a role. The
// test is about their creation only, so no scheduler handles them.
func (s *stream) run(ctx context.Context, namespace string) {
	var creating sync.WaitGroup
	for range creators {
		creating.Go(func() {
			for ctx.Err() == nil {
				s.create(ctx, namespace)
			}
		})
	}
	creating.Wait()
}

func (s *stream) create(ctx context.Context, namespace string) {
	of := template("stream", "app")
	of.Spec.SchedulerName = "nobody"
	pods := world.client.CoreV1().Pods(namespace)
	// A creation in progress continues after the context ends.
	pod, err := pods.Create(context.WithoutCancel(ctx), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "stream-"}, Spec: of.Spec,
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		s.refused.Add(1)
		s.remember(err)
		return
	case roleOf(pod) == "":
		s.missed.Add(1)
	}
	s.created.Add(1)
	if err := pods.Delete(context.WithoutCancel(ctx), pod.Name, metav1.DeleteOptions{}); err != nil {
		s.remember(fmt.Errorf("delete pod %s: %w", pod.Name, err))
	}
}

// remember stores the first error.
func (s *stream) remember(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = err
	}
}

// The test creates pods while helm replaces all replicas. Each pod must be created
// with its role. A failed call of the webhook would make the guard or the
// failurePolicy deny the pod.
func TestRollingUpgrade(t *testing.T) {
	for _, mode := range []string{clusterWide, onlyOptIn} {
		t.Run(mode, func(t *testing.T) {
			namespace := newNamespace(t, map[string]string{optIn: "enabled"})
			giveRole(t, namespace, "app")
			upgrade(t, mode)
			before := replicas(t)

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var s stream
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				s.run(ctx, namespace)
			}()
			for round := range upgrades {
				if err := install(t.Context(), mode, fmt.Sprintf("podAnnotations.round=r%d", round)); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			<-ended
			for name := range replicas(t) {
				if before[name] {
					t.Errorf("replica %s was not replaced", name)
				}
			}
			t.Logf("created %d pods during %d upgrades", s.created.Load(), upgrades)
			if s.created.Load() < 100 || s.missed.Load() != 0 || s.refused.Load() != 0 || s.why != nil {
				t.Errorf("got %d pods created, %d of them without their role, %d denied, first error: %v; want at least 100 created, all with their role", s.created.Load(), s.missed.Load(), s.refused.Load(), s.why)
			}
		})
	}
}

// replicas returns the names of the webhook's pods that are not terminating.
func replicas(t *testing.T) map[string]bool {
	t.Helper()
	pods, err := world.client.CoreV1().Pods(release).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			names[pod.Name] = true
		}
	}
	return names
}
