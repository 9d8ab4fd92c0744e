package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// createServiceAccount creates a ServiceAccount with appRole.
func createServiceAccount(t *testing.T, client kubernetes.Interface, namespace, name string) {
	t.Helper()
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount(name, appRole), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// get returns the status and the body of a GET request.
func get(ctx context.Context, client *http.Client, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// wantMetric waits until the webhook's metrics contain the line.
func wantMetric(t *testing.T, webhook *webhookprocess.Webhook, line string) {
	t.Helper()
	eventually(t, "metric "+line, func(ctx context.Context) error {
		_, scrape, err := get(ctx, webhook.Client(), webhook.MetricsURL())
		if err != nil {
			return err
		}
		if !strings.Contains(scrape, "\n"+line+"\n") {
			return errors.New("the metrics do not contain the line")
		}
		return nil
	})
}

func TestAPIServerOutage(t *testing.T) {
	client := newClient(t)
	webhook := startWebhook(t, "--enable-debugging-handlers")
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "known")
	waitCached(t, webhook, namespace, "known", appRole)

	cluster.KillAPIServer()
	started := false
	t.Cleanup(func() {
		if !started {
			if err := cluster.StartAPIServer(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
	})
	const timeout = 3 * time.Second
	// The watch failed with the API server, so the webhook does not trust its cache.
	wantMetric(t, webhook, `pod_identity_webhook_watch_healthy{resource="serviceaccounts"} 0`)
	for _, name := range []string{"known", "unknown"} {
		// ask has a timeout, so any response came in time.
		got, err := ask(t.Context(), webhook, webhook.Client(), timeout, reviewOf(namespace, name))
		if err != nil || got.status != http.StatusInternalServerError || !strings.Contains(got.body, namespace+"/"+name) {
			t.Errorf("%s: got HTTP %d %s, error %v, want 500 and the ServiceAccount's name", name, got.status, got.body, err)
		}
	}

	// A webhook that starts during the outage has an empty cache and is not ready.
	restarted := make(chan error, 1)
	go func() { restarted <- webhook.Restart(t.Context()) }()
	// A new client, because the old one has connections to the old process.
	fresh := webhook.Client()
	eventually(t, "the new process reports that it is not ready", func(ctx context.Context) error {
		status, body, err := get(ctx, fresh, webhook.URL()+"/readyz")
		if err != nil {
			return err
		}
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "not listed yet") {
			return fmt.Errorf("got HTTP %d %s", status, body)
		}
		return nil
	})
	if status, _, err := get(t.Context(), fresh, webhook.URL()+"/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("/healthz: got HTTP %d, error %v", status, err)
	}
	ignorant, err := ask(t.Context(), webhook, fresh, timeout, reviewOf(namespace, "known"))
	if err != nil || ignorant.status != http.StatusInternalServerError {
		t.Errorf("before the cache is filled: got HTTP %d %s, error %v, want 500", ignorant.status, ignorant.body, err)
	}

	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	started = true
	if err := <-restarted; err != nil {
		t.Fatalf("the webhook is not ready after the outage: %v", err)
	}
	createServiceAccount(t, client, namespace, "unknown")
	recovered, err := ask(t.Context(), webhook, fresh, timeout, reviewOf(namespace, "unknown"))
	if err != nil || recovered.status != http.StatusOK || len(recovered.review.Response.Patch) == 0 {
		t.Errorf("after the outage: got HTTP %d %s, error %v", recovered.status, recovered.body, err)
	}
	waitCached(t, webhook, namespace, "unknown", appRole)
}

// TestAPIServerOutage_watchRecovers keeps the process running during an outage. Later
// writes reach it only through its watch.
func TestAPIServerOutage_watchRecovers(t *testing.T) {
	client := newClient(t)
	webhook := startWebhook(t, "--service-account-lookup=cached")
	namespace := newNamespace(t, client)

	cluster.KillAPIServer()
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	createServiceAccount(t, client, namespace, "later")
	eventually(t, "the new role is in the cache", func(ctx context.Context) error {
		got, err := ask(ctx, webhook, webhook.Client(), 10*time.Second, reviewOf(namespace, "later"))
		if err != nil {
			return err
		}
		if got.status != http.StatusOK || len(got.review.Response.Patch) == 0 {
			return fmt.Errorf("got HTTP %d %s", got.status, got.body)
		}
		return nil
	})
}
