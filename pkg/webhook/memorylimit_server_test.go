package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// secretsPod has two containers with twenty variables from a Secret each.
func secretsPod() *corev1.Pod {
	containers := []corev1.Container{container("app", 20), container("sidecar", 20)}
	for _, c := range containers {
		for i := range c.Env {
			c.Env[i].Value, c.Env[i].ValueFrom = "", &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "credentials"}, Key: c.Env[i].Name,
			}}
		}
	}
	return podWith(containers...)
}

// TestServer_smallPodsDoNotWait checks the minimum number of concurrent requests with a pod
// that one host may have.
func TestServer_smallPodsDoNotWait(t *testing.T) {
	for name, test := range map[string]struct {
		pod    *corev1.Pod
		atOnce int64
	}{
		"small":            {smallPod(), 800},
		"cloudwatch-agent": {cloudWatchAgentPod(), 700},
		"forty secrets":    {secretsPod(), 600},
		"150 variables":    {largePod(), 300},
	} {
		reserved, err := webhook.MemoryFor(reviewOf(test.pod))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d KiB", name, reserved>>10)
		if httpserver.MaxReservedBytes/reserved < test.atOnce {
			t.Errorf("%s reserves %d bytes: got %d concurrent requests, want %d", name, reserved, httpserver.MaxReservedBytes/reserved, test.atOnce)
		}
	}
}

// live returns the memory in use.
func live() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// liveAtWrite records the memory in use when the response was written.
type liveAtWrite struct {
	httptest.ResponseRecorder
	live int64
}

func (w *liveAtWrite) Write(p []byte) (int, error) {
	w.live = live()
	return len(p), nil
}

// TestServer_decodeMemoryLimit measures the memory when a request is decoded and when its
// response is written.
func TestServer_decodeMemoryLimit(t *testing.T) {
	const (
		n = 4000
		// extra is the memory that the process may use in addition.
		extra = 1 << 20
	)
	list := func(item string) string { return item + strings.Repeat(","+item, n-1) }
	var annotations strings.Builder
	for i := range 2 * n {
		fmt.Fprintf(&annotations, `"%x":"",`, i)
	}
	for name, object := range map[string]string{
		"containers":           `{"spec":{"serviceAccountName":"app","containers":[` + list(`{}`) + `]}}`,
		"nulls":                `{"spec":{"serviceAccountName":"app","containers":[` + list(`null`) + `]}}`,
		"containers with name": `{"spec":{"serviceAccountName":"app","containers":[` + list(`{"name":"app"}`) + `]}}`,
		"mounts":               `{"spec":{"serviceAccountName":"app","containers":[{"volumeMounts":[` + list(`{}`) + `]}]}}`,
		"variables":            `{"spec":{"serviceAccountName":"app","containers":[{"env":[` + list(`{"name":"AWS_A","value":"a"}`) + `]}]}}`,
		"volumes":              `{"spec":{"serviceAccountName":"app","volumes":[` + list(`{"projected":{"sources":[{}]}}`) + `],"containers":[{}]}}`,
		"annotations":          `{"metadata":{"annotations":{` + annotations.String() + `"a":""}},"spec":{"serviceAccountName":"app","containers":[{}]}}`,
	} {
		body := fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"CREATE","kind":{"version":"v1","kind":"Pod"},"object":%s}}`, object)
		reserved, err := webhook.MemoryFor(body)
		if err != nil {
			t.Fatal(err)
		}
		var decoded int64
		handler := newServer(role, slog.DiscardHandler, func(c *webhook.Config) {
			mutate := c.Mutate
			c.Mutate = func(ctx context.Context, request *webhook.Request[inject.Pod]) (webhook.Decision, error) {
				decoded = live()
				defer runtime.KeepAlive(request)
				return mutate(ctx, request)
			}
		}).Handler()
		request := httptest.NewRequest(http.MethodPost, "/mutate", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		response := new(liveAtWrite)
		before := live()
		handler.ServeHTTP(response, request)
		if response.live == 0 {
			t.Fatalf("%s: no response", name)
		}
		took := max(decoded, response.live) - before
		t.Logf("%s: %d of %d bytes", name, took, reserved)
		if took > reserved+extra {
			t.Errorf("%s: got %d bytes in use, want at most the %d reserved bytes", name, took, reserved)
		}
	}
}

// deadlines records the write deadline of a response.
type deadlines struct {
	httptest.ResponseRecorder
	write time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = at
	return nil
}

func TestServer_writeTimeout(t *testing.T) {
	request := httptest.NewRequest(http.MethodPost, "/mutate", bytes.NewReader(reviewOf(smallPod())))
	request.Header.Set("Content-Type", "application/json")
	response := &deadlines{ResponseRecorder: *httptest.NewRecorder()}
	quietHandler().ServeHTTP(response, request)
	if left := time.Until(response.write); response.Code != http.StatusOK || left <= 0 || left > webhook.WriteTimeout {
		t.Errorf("got HTTP %d, write deadline in %s", response.Code, left)
	}
}

// TestServer_podSizes checks that all sizes of pods are accepted that an API server can
// store.
func TestServer_podSizes(t *testing.T) {
	for containers, want := range map[int]int{
		1: http.StatusOK, 100: http.StatusOK, 1000: http.StatusOK, 6000: http.StatusOK, 100_000: http.StatusRequestEntityTooLarge,
	} {
		body := fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"CREATE","kind":{"version":"v1","kind":"Pod"},`+
			`"object":{"spec":{"serviceAccountName":"app","containers":[{}%s]}}}}`, strings.Repeat(",{}", containers-1))
		response := post(quietHandler(), "application/json", bytes.NewReader(body))
		if response.Code != want {
			t.Errorf("%d containers: HTTP %d, want %d: %.200s", containers, response.Code, want, response.Body)
		}
	}
}

// TestMutate_patchTooLarge uses a ServiceAccount with long annotations, which are injected
// into each container.
func TestMutate_patchTooLarge(t *testing.T) {
	containers := make([]corev1.Container, 100)
	for n := range containers {
		containers[n] = container(fmt.Sprintf("container-%d", n), 0)
	}
	body := reviewOf(podWith(containers...))
	for length, want := range map[int]int{2048: http.StatusOK, 200 << 10: http.StatusRequestEntityTooLarge} {
		resolver := func(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
			id, err := role(ctx, name)
			id.RoleARN = strings.Repeat("a", length)
			return id, err
		}
		response := post(newServer(resolver, slog.DiscardHandler).Handler(), "application/json", bytes.NewReader(body))
		if response.Code != want {
			t.Errorf("a role of %d bytes: HTTP %d, want %d: %.200s", length, response.Code, want, response.Body)
		}
	}
}
