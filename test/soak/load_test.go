package soak_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

const (
	// podsPerSecond is the rate of creations, and workers the maximum number of concurrent
	// ones.
	podsPerSecond = 100
	workers       = 16
	// accounts is the number of ServiceAccounts of each kind.
	accounts = 5
	// patience is the longest time for which one pod may be rejected.
	patience = 2 * time.Minute
	// requestTimeout is longer than an API server's timeout of a webhook.
	requestTimeout = 15 * time.Second
	retryInterval  = 20 * time.Millisecond
)

const roleAnnotation = "eks.amazonaws.com/role-arn"

// kind is a way in which a pod gets an identity, or none.
type kind string

const (
	annotated kind = "annotated" // the ServiceAccount is annotated
	mapped    kind = "mapped"    // the ServiceAccount is in the ConfigMap
	listed    kind = "listed"    // the ServiceAccount uses EKS Pod Identity
	plain     kind = "plain"     // the ServiceAccount has no identity
	skipped   kind = "skipped"   // the ServiceAccount is annotated, and the pod has the skip label
	fresh     kind = "fresh"     // the ServiceAccount is created, annotated, just before the pod
	late      kind = "late"      // the ServiceAccount is annotated just before the pod
)

var kinds = []kind{annotated, mapped, listed, plain, skipped, fresh, late}

func (k kind) role(n int) string { return fmt.Sprintf("arn:aws:iam::111122223333:role/%s-%d", k, n) }

func serviceAccount(name, role string) *corev1.ServiceAccount {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if role != "" {
		account.Annotations = map[string]string{roleAnnotation: role}
	}
	return account
}

// load creates pods of all kinds until it is stopped. It retries each creation until the pod
// exists.
type load struct {
	client    kubernetes.Interface
	namespace string
	limiter   *rate.Limiter
	cancel    context.CancelFunc
	group     *errgroup.Group

	mu      sync.Mutex
	created map[string]struct{}
	refused int
	// inARow is the number of pods created since the last rejection.
	inARow int
	// last is the time of the last creation. gap and slowest are the results of measure.
	last         time.Time
	gap, slowest time.Duration
}

func startLoad(ctx context.Context, client kubernetes.Interface, namespace string) *load {
	l := &load{
		client: client, namespace: namespace,
		limiter: rate.NewLimiter(podsPerSecond, workers), created: map[string]struct{}{},
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.group, ctx = errgroup.WithContext(ctx)
	for worker := range workers {
		l.group.Go(func() error {
			for n := 0; l.limiter.Wait(ctx) == nil; n++ {
				if err := l.create(context.WithoutCancel(ctx), kinds[n%len(kinds)], worker, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return l
}

// stop waits for creations in progress.
func (l *load) stop() error {
	l.cancel()
	return l.group.Wait()
}

func (l *load) create(ctx context.Context, k kind, worker, n int) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d-%d", k, worker, n),
			Labels: map[string]string{"kind": string(k), "n": fmt.Sprint(n)},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: l.account(k, worker, n),
			InitContainers:     []corev1.Container{{Name: "init", Image: "app"}},
			Containers:         []corev1.Container{{Name: "app", Image: "app"}, {Name: "sidecar", Image: "app"}},
		},
	}
	if k == skipped {
		pod.Labels["eks.amazonaws.com/skip-pod-identity-webhook"] = ""
	}
	if k == fresh || k == late {
		if err := l.prepare(ctx, k, pod.Spec.ServiceAccountName, n); err != nil {
			return err
		}
	}
	began := time.Now()
	err := l.until(ctx, "create pod "+pod.Name, func(ctx context.Context) error {
		_, err := l.client.CoreV1().Pods(l.namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	l.count(pod.Name, began)
	if k == fresh || k == late {
		return l.until(ctx, "delete ServiceAccount", func(ctx context.Context) error {
			err := l.client.CoreV1().ServiceAccounts(l.namespace).Delete(ctx, pod.Spec.ServiceAccountName, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return nil
}

// account returns the name of the ServiceAccount of a pod.
func (l *load) account(k kind, worker, n int) string {
	switch k {
	case fresh, late:
		return fmt.Sprintf("%s-%d-%d", k, worker, n)
	case skipped:
		return fmt.Sprintf("%s-%d", annotated, n%accounts)
	default:
		return fmt.Sprintf("%s-%d", k, n%accounts)
	}
}

// prepare creates the ServiceAccount of a fresh or late pod.
func (l *load) prepare(ctx context.Context, k kind, name string, n int) error {
	api := l.client.CoreV1().ServiceAccounts(l.namespace)
	account := serviceAccount(name, k.role(n))
	if k == late {
		account = serviceAccount(name, "")
	}
	if err := l.until(ctx, "create ServiceAccount "+name, func(ctx context.Context) error {
		_, err := api.Create(ctx, account, metav1.CreateOptions{})
		return err
	}); err != nil || k == fresh {
		return err
	}
	return l.until(ctx, "annotate ServiceAccount "+name, func(ctx context.Context) error {
		_, err := api.Update(ctx, serviceAccount(name, k.role(n)), metav1.UpdateOptions{})
		return err
	})
}

// until retries a request until it succeeds. "Already exists" counts as success: the first
// response was lost.
func (l *load) until(ctx context.Context, what string, ask func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, retryInterval, patience, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		last = ask(ctx)
		if last == nil || apierrors.IsAlreadyExists(last) {
			return true, nil
		}
		l.mu.Lock()
		l.refused++
		l.inARow = 0
		l.mu.Unlock()
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w; last error: %w", what, err, last)
	}
	return nil
}

func (l *load) count(pod string, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created[pod] = struct{}{}
	l.inARow++
	now := time.Now()
	l.gap, l.slowest = max(l.gap, now.Sub(l.last)), max(l.slowest, now.Sub(began))
	l.last = now
}

// measure returns the longest time without a created pod, and the longest duration of one
// creation, since the last call.
func (l *load) measure() (gap, slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap, slowest = l.gap, l.slowest
	l.gap, l.slowest, l.last = 0, 0, time.Now()
	return gap, slowest
}

// waitSteady waits until steadyPods consecutive pods are created without a rejection.
func (l *load) waitSteady(ctx context.Context) error {
	l.mu.Lock()
	l.inARow = 0
	l.mu.Unlock()
	return wait.PollUntilContextTimeout(ctx, retryInterval, patience, true, func(context.Context) (bool, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.inARow >= steadyPods, nil
	})
}

// check compares the stored pods with the created ones.
func (l *load) check(t *testing.T) {
	t.Helper()
	seen, wrong := 0, 0
	options := metav1.ListOptions{Limit: 500}
	for {
		pods, err := l.client.CoreV1().Pods(l.namespace).List(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if _, ok := l.created[pod.Name]; ok {
				seen++
			}
			if err := checkPod(pod); err != nil {
				if wrong++; wrong <= 20 {
					t.Errorf("pod %s: %v", pod.Name, err)
				}
			}
		}
		if options.Continue = pods.Continue; options.Continue == "" {
			break
		}
	}
	if seen != len(l.created) || seen == 0 {
		t.Errorf("got %d stored pods, want the %d created ones", seen, len(l.created))
	}
	if wrong > 0 {
		t.Errorf("got %d wrong pods, want 0", wrong)
	}
}

// checkPod returns an error if a stored pod differs from what its kind should have.
func checkPod(pod *corev1.Pod) error {
	k := kind(pod.Labels["kind"])
	var n int
	if _, err := fmt.Sscan(pod.Labels["n"], &n); err != nil {
		return err
	}
	volume, variable, value := "", "", ""
	switch k {
	case plain, skipped:
	case listed:
		volume, variable, value = "eks-pod-identity-token", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"
	case mapped, annotated:
		volume, variable, value = "aws-iam-token", "AWS_ROLE_ARN", k.role(n%accounts)
	default:
		volume, variable, value = "aws-iam-token", "AWS_ROLE_ARN", k.role(n)
	}
	var volumes []string
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, "aws-iam-token") || strings.HasPrefix(v.Name, "eks-pod-identity-token") {
			volumes = append(volumes, v.Name)
		}
	}
	if got := strings.Join(volumes, ","); got != volume {
		return fmt.Errorf("got token volumes %q, want %q", got, volume)
	}
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		mounted := false
		for _, mount := range container.VolumeMounts {
			mounted = mounted || volume != "" && mount.Name == volume
		}
		got, variables := "", 0
		for _, env := range container.Env {
			if strings.HasPrefix(env.Name, "AWS_") {
				variables++
			}
			if env.Name == variable {
				got = env.Value
			}
		}
		if mounted != (volume != "") || got != value || (variables > 0) != (volume != "") {
			return fmt.Errorf("container %s: got mount %t, %d variables, %s=%q, want %q", container.Name, mounted, variables, variable, got, value)
		}
	}
	return nil
}
