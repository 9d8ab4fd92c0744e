// Package burst creates many pods at the same moment, as a controller with one
// ServiceAccount does. It is for tests and benchmarks of the API server's flow control.
package burst

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// Pods is the number of pods in a burst. With the API server's default limits, the
	// priority level workload-low has 245 seats, and each of its flows can queue 300
	// requests. So 400 pods fill all seats and are not rejected.
	Pods = 400
	// connections is the number of connections for a burst. One HTTP/2 connection
	// carries at most 100 concurrent requests.
	connections = 8

	// SkipLabel is the label of pods for which the API server does not call the webhook.
	SkipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

	author         = "burst-author"
	readyInterval  = 20 * time.Millisecond
	readyTimeout   = time.Minute
	roleAnnotation = "eks.amazonaws.com/role-arn"
)

// SmallLimits returns the flags of an API server with the smallest limits that are in
// use.
func SmallLimits() []string {
	return []string{"--max-requests-inflight=8", "--max-mutating-requests-inflight=6"}
}

// Author creates the namespace and, in it, a ServiceAccount that may create pods.
// It returns the configuration of a client with a token of that ServiceAccount.
func Author(ctx context.Context, cluster *controlplane.ControlPlane, namespace string) (*rest.Config, error) {
	admin, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	if err := controlplane.CreateNamespace(ctx, admin, namespace); err != nil {
		return nil, err
	}
	meta := metav1.ObjectMeta{Name: author}
	if _, err := admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create"}}}}
	if _, err := admin.RbacV1().Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: author},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: author, Namespace: namespace}},
	}
	if _, err := admin.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	config, err := cluster.ServiceAccountConfig(ctx, namespace, author)
	if err != nil {
		return nil, err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, readyInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		last = controlplane.ExpectPermitted(ctx, config, authorizationv1.ResourceAttributes{Namespace: namespace, Resource: "pods", Verb: "create"})
		return last == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the permissions of ServiceAccount %s/%s: %w", namespace, author, last)
	}
	return config, nil
}

// CreateServiceAccounts creates count ServiceAccounts and returns their names. roleOf
// returns the role of the nth, or an empty string.
func CreateServiceAccounts(ctx context.Context, client kubernetes.Interface, namespace string, count int, roleOf func(n int) string) ([]string, error) {
	var names []string
	for n := range count {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app-" + strconv.Itoa(n)}}
		if role := roleOf(n); role != "" {
			account.Annotations = map[string]string{roleAnnotation: role}
		}
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("create ServiceAccount %s/%s: %w", namespace, account.Name, err)
		}
		names = append(names, account.Name)
	}
	return names, nil
}

// Result is the result of creating one pod.
type Result struct {
	ServiceAccount string
	// Pod is the stored pod, or nil if Err is not nil.
	Pod *corev1.Pod
	Err error
	// Took is the time from the start of the burst to the response.
	Took time.Duration
}

// Create creates Pods pods at the same moment, as the user of config. It uses the
// ServiceAccounts in turn. All pods have the labels.
func Create(ctx context.Context, config *rest.Config, namespace string, serviceAccounts []string, labels map[string]string) ([]Result, error) {
	clients := make([]kubernetes.Interface, connections)
	for n := range clients {
		own := rest.CopyConfig(config)
		// client-go shares a connection between configurations with the same dialer, and
		// the default is none.
		own.Dial = new(net.Dialer).DialContext
		var err error
		if clients[n], err = kubernetes.NewForConfig(own); err != nil {
			return nil, err
		}
		// Connect before the burst.
		if _, err := clients[n].Discovery().ServerVersion(); err != nil {
			return nil, err
		}
	}
	results := make([]Result, Pods)
	var creating sync.WaitGroup
	begin := make(chan struct{})
	var began time.Time
	for n := range results {
		account := serviceAccounts[n%len(serviceAccounts)]
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "burst-", Labels: labels},
			Spec: corev1.PodSpec{
				ServiceAccountName: account,
				Containers:         []corev1.Container{{Name: "app", Image: "registry.example.com/app:1"}},
			},
		}
		pods := clients[n%connections].CoreV1().Pods(namespace)
		creating.Go(func() {
			<-begin
			stored, err := pods.Create(ctx, pod, metav1.CreateOptions{})
			results[n] = Result{ServiceAccount: account, Pod: stored, Err: err, Took: time.Since(began)}
		})
	}
	began = time.Now()
	close(begin)
	creating.Wait()
	return results, ctx.Err()
}

// Median returns the median duration of the creations.
func Median(results []Result) time.Duration {
	took := make([]time.Duration, 0, len(results))
	for _, result := range results {
		took = append(took, result.Took)
	}
	slices.Sort(took)
	return took[len(took)/2]
}
