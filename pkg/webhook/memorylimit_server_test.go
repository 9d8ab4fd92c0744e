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

// TestServer_smallPodsDoNotWait says how many of a pod one host may have under way
// at once, at the least.
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
		room, err := webhook.MemoryFor(reviewOf(test.pod))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d KiB", name, room>>10)
		if httpserver.MaxReservedBytes/room < test.atOnce {
			t.Errorf("%s is given %d bytes: %d at once, want %d", name, room, httpserver.MaxReservedBytes/room, test.atOnce)
		}
	}
}

// live returns the memory that is in use.
func live() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// liveAtWrite remembers what was in use when the answer was written.
type liveAtWrite struct {
	httptest.ResponseRecorder
	live int64
}

func (w *liveAtWrite) Write(p []byte) (int, error) {
	w.live = live()
	return len(p), nil
}

// TestServer_decodeMemoryLimit measures it where it is decoded and where it is
// answered.
func TestServer_decodeMemoryLimit(t *testing.T) {
	const (
		n = 4000
		// beside is what the process may take beside it.
		beside = 1 << 20
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
		room, err := webhook.MemoryFor(body)
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
			t.Fatalf("%s: not answered", name)
		}
		took := max(decoded, response.live) - before
		t.Logf("%s: %d of %d bytes", name, took, room)
		if took > room+beside {
			t.Errorf("%s took %d bytes, and %d were taken for them", name, took, room)
		}
	}
}

// deadlines remembers by when an answer is to be taken.
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
		t.Errorf("HTTP %d, to be taken in %s", response.Code, left)
	}
}

// TestServer_podSizes but those that no API server can have stored.
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

// TestMutate_patchTooLarge: a ServiceAccount's annotations may be as long
// as all that it has, and go to each container.
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
