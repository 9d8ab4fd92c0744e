package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestDebuggingHandlersTellWhatIsKnownAndWhatWouldHappen(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	webhook := startWebhook(t, "--enable-debugging-handlers")
	debug := strings.TrimSuffix(webhook.MetricsURL(), "/metrics") + "/debug"

	for _, path := range []string{"/identities", "/alpha/cache"} {
		status, body, err := get(t.Context(), webhook.Client(), debug+path)
		var known map[string]struct{ RoleARN string }
		if err == nil {
			err = json.Unmarshal([]byte(body), &known)
		}
		if err != nil || status != http.StatusOK || known[namespace+"/app"].RoleARN != appRole {
			t.Errorf("%s: HTTP %d %v\n%s", path, status, err, body)
		}
	}
	if status, _, err := get(t.Context(), webhook.Client(), debug+"/pprof/goroutine"); err != nil || status != http.StatusOK {
		t.Errorf("pprof: HTTP %d %v", status, err)
	}

	explain := func(pod string) string {
		response, err := webhook.Client().Post(debug+"/explain", "application/yaml", strings.NewReader(pod))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	told := explain(fmt.Sprintf(`{"kind": "Pod", "metadata": {"namespace": %q}, "spec": {"serviceAccountName": "app",
		"containers": [{"name": "app"}, {"name": "other", "volumeMounts": [
			{"name": "x", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"}]}]}}`, namespace))
	for _, want := range []string{`"reason": "injected"`, `"reason": "fallback_path"`, appRole, `"op": "add"`} {
		if !strings.Contains(told, want) {
			t.Errorf("the explanation lacks %s:\n%s", want, told)
		}
	}
	if told := explain("kind: Deployment"); !strings.Contains(told, "send one") || !strings.Contains(told, "Deployment") {
		t.Errorf("of a Deployment: %s", told)
	}

	quiet := startWebhook(t)
	if status, _, err := get(t.Context(), quiet.Client(), strings.TrimSuffix(quiet.MetricsURL(), "/metrics")+"/debug/identities"); err != nil || status != http.StatusNotFound {
		t.Errorf("without the flag: HTTP %d %v", status, err)
	}
}
