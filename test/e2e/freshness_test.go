package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// behindProxy is a webhook that reaches the API server through a proxy with fault
// injection. One ServiceAccount with appRole is in its cache.
type behindProxy struct {
	client    kubernetes.Interface
	proxy     *apiProxy
	webhook   *webhookprocess.Webhook
	namespace string
}

func startBehindProxy(t *testing.T, args ...string) *behindProxy {
	t.Helper()
	b := &behindProxy{client: newClient(t), proxy: newAPIProxy(t)}
	b.webhook = startWebhookOf(t, webhookprocess.Options{
		Kubeconfig: b.proxy.kubeconfig(t, args...),
		Args:       append([]string{"--enable-debugging-handlers"}, args...),
	})
	b.namespace = newNamespace(t, b.client)
	createServiceAccount(t, b.client, b.namespace, "app")
	waitCached(t, b.webhook, b.namespace, "app", appRole)
	return b
}

// waitCached waits until the webhook's cache has the role of a ServiceAccount. The
// webhook must serve its debugging endpoints.
func waitCached(t *testing.T, webhook *webhookprocess.Webhook, namespace, serviceAccount, role string) {
	t.Helper()
	url := strings.TrimSuffix(webhook.MetricsURL(), "/metrics") + "/debug/identities"
	eventually(t, "the cache has the role of "+serviceAccount, func(ctx context.Context) error {
		status, body, err := get(ctx, webhook.Client(), url)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("got HTTP %d %s: %w", status, body, err)
		}
		var identities map[string]struct{ RoleARN string }
		if err := json.Unmarshal([]byte(body), &identities); err != nil {
			return err
		}
		if got := identities[namespace+"/"+serviceAccount].RoleARN; got != role {
			return fmt.Errorf("got %q, want %q", got, role)
		}
		return nil
	})
}

// annotate sets the role of the ServiceAccount. An empty role removes the annotation.
func (b *behindProxy) annotate(t *testing.T, role string) {
	t.Helper()
	if err := setRole(t.Context(), b.client, b.namespace, "app", role); err != nil {
		t.Fatal(err)
	}
}

// wantPod sends the webhook a pod of the ServiceAccount. The test fails unless the
// response has the role (or no patch, if role is empty) and the source. The source is
// "cache", or empty for the API server.
func (b *behindProxy) wantPod(t *testing.T, when, role, source string) {
	t.Helper()
	got, err := ask(t.Context(), b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
	if err != nil || got.status != http.StatusOK {
		t.Errorf("%s: got HTTP %d %s, error %v", when, got.status, got.body, err)
		return
	}
	annotations := got.review.Response.AuditAnnotations
	if annotations["role-arn"] != role || annotations["source"] != source || (len(got.review.Response.Patch) > 0) != (role != "") {
		t.Errorf("%s: got audit annotations %v, want role %q and source %q", when, annotations, role, source)
	}
}

// wantReadyAndHealth fails the test unless the webhook is ready and reports the given
// health of the watches in its metrics.
func (b *behindProxy) wantReadyAndHealth(t *testing.T, health int, resources ...string) {
	t.Helper()
	for _, resource := range resources {
		wantMetric(t, b.webhook, fmt.Sprintf("pod_identity_webhook_watch_healthy{resource=%q} %d", resource, health))
	}
	status, body, err := get(t.Context(), b.webhook.Client(), b.webhook.URL()+"/readyz")
	if err != nil || status != http.StatusOK {
		t.Errorf("/readyz: got HTTP %d, error %v", status, err)
	}
	for _, resource := range resources {
		if named := strings.Contains(body, resource); named != (health == 0) {
			t.Errorf("/readyz: got %q, want only unhealthy watches in it", body)
		}
	}
}

// TestFreshness_watchHangs has a watch that receives no events although its connection
// stays open. The webhook must use later writes anyway.
func TestFreshness_watchHangs(t *testing.T) {
	b := startBehindProxy(t)
	b.proxy.freeze()
	b.annotate(t, newRole)
	b.wantPod(t, "after a change", newRole, "")
	b.annotate(t, "")
	b.wantPod(t, "after the role was removed", "", "")
	accounts := b.client.CoreV1().ServiceAccounts(b.namespace)
	if err := accounts.Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Create(t.Context(), serviceAccount("app", newRole), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantPod(t, "after it was recreated", newRole, "")
	waitCached(t, b.webhook, b.namespace, "app", appRole) // the watch received none of the changes
	b.proxy.thaw()
	waitCached(t, b.webhook, b.namespace, "app", newRole)
}

func TestFreshness_listAndWatchForbidden(t *testing.T) {
	for _, lookup := range []string{"live", "cached"} {
		t.Run(lookup, func(t *testing.T) {
			b := startBehindProxy(t, "--service-account-lookup="+lookup)
			b.wantReadyAndHealth(t, 1, "serviceaccounts")
			b.proxy.fail(forbidden, listRequest, watchRequest)
			b.proxy.cutWatches()
			b.wantReadyAndHealth(t, 0, "serviceaccounts")
			b.annotate(t, newRole)
			b.wantPod(t, "after a change", newRole, "")
			b.annotate(t, "")
			b.wantPod(t, "after the role was removed", "", "")
			b.proxy.fail(nil, listRequest, watchRequest)
			b.wantReadyAndHealth(t, 1, "serviceaccounts")
		})
	}
}

// TestFreshness_getFails has failing live reads and a healthy watch. The webhook must use
// its cache, and report that in the response, a metric and the log.
func TestFreshness_getFails(t *testing.T) {
	unavailable := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	for name, fault := range map[string]http.HandlerFunc{"forbidden": forbidden, "unavailable": unavailable, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			b := startBehindProxy(t)
			b.proxy.fail(fault, getRequest)
			b.wantPod(t, "with a role in the cache", appRole, "cache")
			b.annotate(t, newRole)
			waitCached(t, b.webhook, b.namespace, "app", newRole)
			b.wantPod(t, "after a change that the watch received", newRole, "cache")
			b.wantReadyAndHealth(t, 1, "serviceaccounts")
			wantMetric(t, b.webhook, `pod_identity_webhook_cache_fallbacks_total{resource="serviceaccounts"} 2`)
			log, err := b.webhook.Logs()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(log, "Live read failed, used the cache"); got != 1 || !strings.Contains(log, fmt.Sprintf(`"namespace":%q,"name":"app"`, b.namespace)) {
				t.Errorf("got %d log lines, want 1 with the ServiceAccount", got)
			}
			b.proxy.fail(nil, getRequest)
			b.wantPod(t, "when reads succeed again", newRole, "")
		})
	}
}

// TestFreshness_bothFail has failing live reads and an unhealthy watch: the response is
// HTTP 500, so that the failurePolicy applies.
func TestFreshness_bothFail(t *testing.T) {
	for _, lookup := range []string{"live", "cached"} {
		t.Run(lookup, func(t *testing.T) {
			b := startBehindProxy(t, "--service-account-lookup="+lookup)
			b.proxy.fail(forbidden, getRequest, listRequest, watchRequest)
			b.proxy.cutWatches()
			b.wantReadyAndHealth(t, 0, "serviceaccounts")
			got, err := ask(t.Context(), b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
			if err != nil || got.status != http.StatusInternalServerError {
				t.Fatalf("got HTTP %d %s, error %v, want 500", got.status, got.body, err)
			}
			for _, want := range []string{b.namespace + "/app", "no permission", "cache"} {
				if !strings.Contains(got.body, want) {
					t.Errorf("the message lacks %q: %s", want, got.body)
				}
			}
			b.proxy.fail(nil, getRequest, listRequest, watchRequest)
			b.wantReadyAndHealth(t, 1, "serviceaccounts")
			b.wantPod(t, "after the faults end", appRole, map[string]string{"live": "", "cached": "cache"}[lookup])
		})
	}
}

// TestFreshness_namespace injects the same faults with a role policy.
func TestFreshness_namespace(t *testing.T) {
	b := startBehindProxy(t, "--role-policy=on")
	permit := func(roles string) {
		t.Helper()
		patch := annotationPatch("eks.amazonaws.com/permitted-roles", roles)
		if _, err := b.client.CoreV1().Namespaces().Patch(t.Context(), b.namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wantDenied := func(when, source string) {
		t.Helper()
		got, err := ask(t.Context(), b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
		if err != nil || got.status != http.StatusOK || got.review.Response.Allowed || got.review.Response.AuditAnnotations["source"] != source {
			t.Errorf("%s: got HTTP %d %s, error %v, want a denial with source %q", when, got.status, got.body, err, source)
		}
	}
	permit("other")
	b.proxy.freeze()
	permit("app")
	b.wantPod(t, "permitted while the watch hangs", appRole, "")
	permit("other")
	wantDenied("withdrawn while the watch hangs", "")
	b.proxy.thaw()

	b.proxy.fail(forbidden, getRequest)
	eventually(t, "the watch receives the denial", func(ctx context.Context) error {
		got, err := ask(ctx, b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
		if err == nil && got.review.Response != nil && got.review.Response.Allowed {
			err = errors.New("the role is permitted")
		}
		return err
	})
	wantDenied("denied by the cache", "cache")
	permit("app")
	eventually(t, "the watch receives the permission", func(ctx context.Context) error {
		got, err := ask(ctx, b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
		if err == nil && (got.status != http.StatusOK || !got.review.Response.Allowed) {
			err = errors.New(got.body)
		}
		return err
	})
	b.wantPod(t, "permitted by the cache", appRole, "cache")

	b.proxy.fail(forbidden, listRequest, watchRequest)
	b.proxy.cutWatches()
	b.wantReadyAndHealth(t, 0, "serviceaccounts", "namespaces")
	got, err := ask(t.Context(), b.webhook, b.webhook.Client(), 10*time.Second, reviewOf(b.namespace, "app"))
	if err != nil || got.status != http.StatusInternalServerError {
		t.Errorf("without a source: got HTTP %d %s, error %v, want 500", got.status, got.body, err)
	}
}
