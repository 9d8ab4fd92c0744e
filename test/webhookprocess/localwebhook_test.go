package webhookprocess

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

func TestWebhook_restart(t *testing.T) {
	ctx := t.Context()
	cp, err := controlplane.Start(ctx, controlplane.Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	w, err := Start(ctx, Options{Cluster: cp, Dir: t.TempDir(), Args: []string{"--shutdown-delay=0s"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Kill)

	if err := w.Register(ctx, client, RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name:        "with-role",
		Annotations: map[string]string{annotationPrefix + "/" + roleAnnotation: "arn:aws:iam::111122223333:role/test"},
	}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRole(t, client, "after Register")

	url := w.URL()
	if err := w.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if w.URL() != url {
		t.Errorf("the URL changed from %s to %s after the restart", url, w.URL())
	}
	wantRole(t, client, "after Restart")

	w.Kill()
	if err := createPod(t, client); err == nil {
		t.Error("a pod was admitted with the webhook killed and failurePolicy Fail")
	}
	if err := w.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	wantRole(t, client, "after Kill and Restart")

	for path, status := range map[string]int{w.URL() + "/readyz": http.StatusOK, w.MetricsURL(): http.StatusOK} {
		response, err := w.Client().Get(path)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("GET %s: %s, want %d", path, response.Status, status)
		}
	}
	code, err := w.Stop(ctx)
	if code != 0 || err != nil {
		t.Errorf("Stop: got exit code %d, error %v; want 0 and no error", code, err)
	}
}

func TestReplaceCertificate(t *testing.T) {
	ctx := t.Context()
	cp, err := controlplane.Start(ctx, controlplane.Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	w, err := Start(ctx, Options{Cluster: cp, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Kill)

	replacement, err := w.ReplaceCertificate()
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		client := w.Client() // a new connection
		defer client.CloseIdleConnections()
		response, err := client.Get(w.URL() + "/healthz")
		if err != nil {
			return false, err
		}
		defer func() { _ = response.Body.Close() }()
		return response.TLS.PeerCertificates[0].Equal(replacement), nil
	})
	if err != nil {
		t.Errorf("wait for the new certificate: %v", err)
	}
}

func TestStart_missingBinary(t *testing.T) {
	_, err := Start(t.Context(), Options{Binary: t.TempDir() + "/absent", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v, want an error with `make build`", err)
	}
}

func wantRole(t *testing.T, client kubernetes.Interface, when string) {
	t.Helper()
	if err := createPod(t, client); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// createPod creates a pod of a ServiceAccount with a role, and fails if the pod has none.
func createPod(t *testing.T, client kubernetes.Interface) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "with-role",
			Containers:         []corev1.Container{{Name: "app", Image: "app"}},
		},
	}
	stored, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if len(stored.Spec.Containers[0].Env) == 0 {
		return errors.New("the pod was stored without its role")
	}
	return nil
}
