package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

func TestCertificateFiles_reloadUnderLoad(t *testing.T) {
	client := newClient(t)
	webhook := waitRegistered(t, client)
	namespace := newNamespace(t, client)
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, client, namespace, name)
	}
	// One load goes through the API server, which keeps its connections open. The other
	// has clients that open a new connection, with a new handshake, for each request.
	pods := startLoad(t, client, namespace)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var handshakes errgroup.Group
	for range 4 {
		handshakes.Go(func() error {
			for ctx.Err() == nil {
				fresh := webhook.Client()
				status, _, err := get(t.Context(), fresh, webhook.URL()+"/healthz")
				fresh.CloseIdleConnections()
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("got HTTP %d: %w", status, err)
				}
			}
			return nil
		})
	}

	for range 10 {
		pods.waitForMore(t, 20)
		replaced, err := webhook.ReplaceCertificate()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new certificate is served", func(ctx context.Context) error {
			fresh := webhook.Client()
			defer fresh.CloseIdleConnections()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, webhook.URL()+"/healthz", nil)
			if err != nil {
				return err
			}
			response, err := fresh.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if got := response.TLS.PeerCertificates[0].SerialNumber; got.Cmp(replaced.SerialNumber) != 0 {
				return fmt.Errorf("got serial number %s, want %s", got, replaced.SerialNumber)
			}
			return nil
		})
	}
	pods.waitForMore(t, 20)
	pods.stop(t)
	stop()
	if err := handshakes.Wait(); err != nil {
		t.Errorf("a new connection failed: %v", err)
	}
	if got := pods.refused.Load(); got != 0 {
		t.Errorf("got %d failed calls of the webhook, want 0; last error: %v", got, pods.why.Load())
	}
	wantMetric(t, webhook, `pod_identity_webhook_certificate_reloads_total{result="error"} 0`)
}

func TestShutdown_drains(t *testing.T) {
	webhook := startWebhook(t, "--shutdown-delay=2s")
	client := webhook.Client()
	if err := webhook.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not ready", func(ctx context.Context) error {
		status, body, err := get(ctx, client, webhook.URL()+"/readyz")
		if err != nil {
			return err
		}
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
			return fmt.Errorf("got HTTP %d %s", status, body)
		}
		return nil
	})
	// The webhook is not ready, but still responds to clients that have not noticed.
	got, err := ask(t.Context(), webhook, client, 10*time.Second, reviewOf("default", "nobody"))
	if err != nil || got.status != http.StatusOK {
		t.Errorf("while draining: got HTTP %d %s, error %v", got.status, got.body, err)
	}
	wantEnd(t, webhook.Ended())
	if code := webhook.ExitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

func TestShutdown_secondSignal(t *testing.T) {
	webhook := startWebhook(t, "--shutdown-delay=1h")
	client := webhook.Client()
	if err := webhook.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first signal takes effect", func(ctx context.Context) error {
		status, _, err := get(ctx, client, webhook.URL()+"/readyz")
		if err == nil && status == http.StatusOK {
			err = errors.New("the webhook is still ready")
		}
		return err
	})
	if err := webhook.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, webhook.Ended())
	if code := webhook.ExitCode(); code != -1 {
		t.Errorf("got exit code %d, want an exit by the signal", code)
	}
}

func wantEnd(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("the webhook did not exit within %s", patience)
	}
}

func TestMetrics(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	webhook := startWebhook(t)
	for _, account := range []string{"default", "nobody"} {
		if _, err := ask(t.Context(), webhook, webhook.Client(), 10*time.Second, reviewOf(namespace, account)); err != nil {
			t.Fatal(err)
		}
	}
	status, scrape, err := get(t.Context(), webhook.Client(), webhook.MetricsURL())
	if err != nil || status != http.StatusOK {
		t.Fatalf("got HTTP %d, error %v", status, err)
	}
	for _, want := range []string{
		`pod_identity_webhook_admissions_total{outcome="unchanged",reason="no_role"} 1`,
		`pod_identity_webhook_admission_duration_seconds_count `,
		`pod_identity_webhook_live_reads_total{result="not_found"} 1`,
		`pod_identity_webhook_live_reads_total{result="no_role"} 1`,
		`pod_identity_webhook_cache_fallbacks_total{resource="serviceaccounts"} 0`,
		`pod_identity_webhook_watch_healthy{resource="serviceaccounts"} 1`,
		`pod_identity_webhook_service_accounts `,
		`pod_identity_webhook_service_accounts_synced 1`,
		`pod_identity_webhook_certificate_expiry_timestamp_seconds `,
		`pod_identity_webhook_panics_total 0`,
		`pod_identity_webhook_pod_count{method="sts_web_identity"} `,
		`pod_identity_webhook_pod_count{method="container_credentials"} 0`,
		`pod_identity_webhook_missing_sa_count 1`,
		`pod_identity_webhook_used 1`,
		`go_goroutines `,
		`process_cpu_seconds_total `,
	} {
		if !strings.Contains(scrape, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestTLSMinVersion(t *testing.T) {
	old := func(webhook *webhookprocess.Webhook) error {
		client := webhook.Client()
		client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
		_, _, err := get(t.Context(), client, webhook.URL()+"/healthz")
		return err
	}
	if err := old(startWebhook(t, "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")); err != nil {
		t.Errorf("TLS 1.2 with the default minimum: %v", err)
	}
	if err := old(startWebhook(t, "--tls-min-version=VersionTLS13")); err == nil {
		t.Error("TLS 1.2 is accepted with a minimum of 1.3")
	}
}
