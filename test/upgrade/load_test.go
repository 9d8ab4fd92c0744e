package upgrade_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// clients is the number of clients. Together they create podsPerSecond, each over its
	// own connections.
	clients       = 8
	podsPerSecond = 50

	roleAnnotation = "eks.amazonaws.com/role-arn"
	appRole        = "arn:aws:iam::111122223333:role/app"
	// withRole and plain are the ServiceAccounts of the pods.
	withRole, plain = "app", "plain"
)

// load is a stream of pod creations without retries.
type load struct {
	cancel context.CancelFunc
	group  *errgroup.Group

	mu sync.Mutex
	// created is the number of creations per client.
	created [clients]int
	// faults are descriptions of wrong or rejected pods.
	faults []string
}

// startLoad creates pods in its own namespace until the load is stopped.
func startLoad(t *testing.T, client kubernetes.Interface) *load {
	t.Helper()
	namespace := newLoadNamespace(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	l := &load{cancel: cancel, group: &errgroup.Group{}}
	limiter := rate.NewLimiter(podsPerSecond, clients)
	for worker := range clients {
		config := cluster.Config()
		// Clients with their own dialer do not share connections.
		config.Dial = new(net.Dialer).DialContext
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		l.group.Go(func() error {
			for n := 0; limiter.Wait(ctx) == nil; n++ {
				l.create(context.WithoutCancel(ctx), client, namespace, worker, n)
			}
			return nil
		})
	}
	return l
}

func newLoadNamespace(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	namespace := fmt.Sprintf("load-%d", time.Now().UnixNano())
	if err := controlplane.CreateNamespace(t.Context(), client, namespace); err != nil {
		t.Fatal(err)
	}
	for name, annotations := range map[string]map[string]string{withRole: {roleAnnotation: appRole}, plain: nil} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return namespace
}

func newPod(name, account string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: account,
			InitContainers:     []corev1.Container{{Name: "init", Image: "app"}},
			Containers:         []corev1.Container{{Name: "app", Image: "app"}, {Name: "sidecar", Image: "app"}},
		},
	}
}

func (l *load) create(ctx context.Context, client kubernetes.Interface, namespace string, worker, n int) {
	name, account := fmt.Sprintf("pod-%d-%d", worker, n), []string{withRole, plain}[n%2]
	pod, err := client.CoreV1().Pods(namespace).Create(ctx, newPod(name, account), metav1.CreateOptions{})
	if err == nil {
		err = checkIdentity(pod)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.faults = append(l.faults, fmt.Sprintf("%s: %v", name, err))
	}
	l.created[worker]++
}

// checkIdentity returns an error unless each container of the pod has the identity
// of its ServiceAccount exactly once.
func checkIdentity(pod *corev1.Pod) error {
	want := 0
	if pod.Spec.ServiceAccountName == withRole {
		want = 1
	}
	volumes := 0
	for _, volume := range pod.Spec.Volumes {
		if strings.HasPrefix(volume.Name, "aws-iam-token") {
			volumes++
		}
	}
	if volumes != want {
		return fmt.Errorf("got %d token volumes, want %d", volumes, want)
	}
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		mounts, roles, files := 0, 0, 0
		for _, mount := range container.VolumeMounts {
			if strings.HasPrefix(mount.Name, "aws-iam-token") {
				mounts++
			}
		}
		for _, variable := range container.Env {
			switch {
			case variable.Name == "AWS_ROLE_ARN" && variable.Value == appRole:
				roles++
			case variable.Name == "AWS_WEB_IDENTITY_TOKEN_FILE":
				files++
			case strings.HasPrefix(variable.Name, "AWS_ROLE_ARN"):
				return fmt.Errorf("container %s: got role %q", container.Name, variable.Value)
			}
		}
		if mounts != want || roles != want || files != want {
			return fmt.Errorf("container %s: got %d mounts, %d roles and %d token files, want %d of each", container.Name, mounts, roles, files, want)
		}
	}
	return nil
}

// waitForMore waits until each client has created several more pods. The first of them may
// have started before the call.
func (l *load) waitForMore(t *testing.T) {
	t.Helper()
	goal := l.tried()
	for worker := range goal {
		goal[worker] += pods / clients
	}
	eventually(t, "each client creates more pods", func(context.Context) error {
		for worker, got := range l.tried() {
			if got < goal[worker] {
				return fmt.Errorf("client %d: got %d of %d pods", worker, got, goal[worker])
			}
		}
		return nil
	})
}

func (l *load) tried() [clients]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.created
}

// step waits for more pods and reports the faults since the last step, together with the
// state in which they occurred.
func (l *load) step(t *testing.T, state string) {
	t.Helper()
	l.waitForMore(t)
	l.mu.Lock()
	faults := l.faults
	l.faults = nil
	l.mu.Unlock()
	if len(faults) > 0 {
		t.Errorf("%s: got %d rejected or wrong pods, such as %s", state, len(faults), faults[0])
	}
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	if err := l.group.Wait(); err != nil {
		t.Error(err)
	}
	if len(l.faults) > 0 {
		t.Errorf("at the end: got %d rejected or wrong pods, such as %s", len(l.faults), l.faults[0])
	}
	t.Logf("pods per client: %d", l.created)
}
