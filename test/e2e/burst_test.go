package e2e_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/burst"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// TestBurst_everyPodGetsItsRole creates 400 pods at the same moment. Pod creations
// and the webhook's reads share the API server's limits, and each creation waits
// for a read. Without the chart's FlowSchema the reads wait behind the creations
// and fail.
func TestBurst_everyPodGetsItsRole(t *testing.T) {
	for _, limits := range []struct {
		name  string
		flags []string
	}{
		{"default limits", nil},
		{"small limits", burst.SmallLimits()},
	} {
		t.Run(limits.name, func(t *testing.T) {
			cp, err := controlplane.Start(t.Context(), controlplane.Options{Dir: t.TempDir(), Log: t.Output(), APIServerFlags: limits.flags})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cp.Stop)
			for _, policy := range []admissionregistrationv1.FailurePolicyType{admissionregistrationv1.Ignore, admissionregistrationv1.Fail} {
				t.Run(string(policy), func(t *testing.T) { burstUnder(t, cp, policy) })
			}
		})
	}
}

// burstUnder starts its own webhook, so that the API server cannot call the webhook
// through a configuration with another failurePolicy.
func burstUnder(t *testing.T, cp *controlplane.ControlPlane, policy admissionregistrationv1.FailurePolicyType) {
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	webhook := startWebhookOf(t, webhookprocess.Options{Cluster: cp})
	if err := webhook.Register(t.Context(), client, webhookprocess.RegisterOptions{FailurePolicy: policy}); err != nil {
		t.Fatal(err)
	}
	for n, test := range []struct {
		name     string
		accounts int
		role     func(n int) string
	}{
		{"one ServiceAccount with a role", 1, func(int) string { return appRole }},
		{"one ServiceAccount without a role", 1, func(int) string { return "" }},
		{"400 ServiceAccounts, half of them with a role", burst.Pods, func(n int) string {
			if n%2 == 0 {
				return appRole + strconv.Itoa(n)
			}
			return ""
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := fmt.Sprintf("burst-%s-%d", map[bool]string{true: "fail", false: "ignore"}[policy == admissionregistrationv1.Fail], n)
			author, err := burst.Author(t.Context(), cp, namespace)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			accounts, err := burst.CreateServiceAccounts(t.Context(), client, namespace, test.accounts, test.role)
			if err != nil {
				t.Fatal(err)
			}
			for n, account := range accounts {
				want[account] = test.role(n)
			}
			results, err := burst.Create(t.Context(), author, namespace, accounts, nil)
			if err != nil {
				t.Fatal(err)
			}
			failed, wrong := 0, 0
			for _, result := range results {
				switch {
				case result.Err != nil:
					if failed++; failed == 1 {
						t.Errorf("pod of %s: %v", result.ServiceAccount, result.Err)
					}
				case roleOf(result.Pod) != want[result.ServiceAccount]:
					wrong++
				}
			}
			t.Logf("median %s", burst.Median(results))
			if failed > 0 || wrong > 0 {
				t.Errorf("got %d errors and %d pods without the right role, want 0 of %d", failed, wrong, len(results))
			}
		})
	}
	requests := flowControlled(t, client)
	if requests.dispatched == 0 || requests.rejected > 0 {
		t.Errorf("got %d requests dispatched and %d rejected in the webhook's priority level, want some and none", requests.dispatched, requests.rejected)
	}
}

// flowControlRequests counts the requests in the webhook's priority level. rejected
// is the number of requests rejected because their queues were full. Requests that
// the webhook canceled are not counted: on a slow machine it falls back to its cache.
type flowControlRequests struct{ dispatched, rejected int }

// flowControlled returns the counts from the API server's metrics.
func flowControlled(t *testing.T, client kubernetes.Interface) flowControlRequests {
	t.Helper()
	scrape, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := func(metric, labels string) int {
		total := 0
		for _, sample := range regexp.MustCompile(`(?m)^`+metric+`\{[^}]*priority_level="irsa-local-webhook-[^}]*`+labels+`\} (\S+)$`).FindAllSubmatch(scrape, -1) {
			value, err := strconv.ParseFloat(string(sample[1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			total += int(value)
		}
		return total
	}
	return flowControlRequests{
		dispatched: sum("apiserver_flowcontrol_dispatched_requests_total", ""),
		rejected:   sum("apiserver_flowcontrol_rejected_requests_total", `reason="queue-full"`),
	}
}
