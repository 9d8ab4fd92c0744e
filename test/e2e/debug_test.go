package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestDebug_enabled(t *testing.T) {
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
			t.Errorf("%s: got HTTP %d, error %v\n%s", path, status, err, body)
		}
	}
	if status, _, err := get(t.Context(), webhook.Client(), debug+"/pprof/goroutine"); err != nil || status != http.StatusOK {
		t.Errorf("pprof: got HTTP %d, error %v", status, err)
	}

	quiet := startWebhook(t)
	if status, _, err := get(t.Context(), quiet.Client(), strings.TrimSuffix(quiet.MetricsURL(), "/metrics")+"/debug/identities"); err != nil || status != http.StatusNotFound {
		t.Errorf("without the flag: got HTTP %d, error %v, want 404", status, err)
	}
}
