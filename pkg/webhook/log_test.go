package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// deniesAll permits no role.
type deniesAll struct{}

func (deniesAll) Permitted(_ context.Context, namespace string, roles []string) (bool, error) {
	return false, rolepolicy.Evaluate(rolepolicy.Require, settings.AnnotationPrefix, namespace, nil, roles[0])
}

// TestLog_podFields checks the log lines at the default level.
func TestLog_podFields(t *testing.T) {
	for name, test := range map[string]struct {
		policy      webhook.Policy
		annotations map[string]string
		reason      string
		key         string
	}{
		"of a denial": {deniesAll{}, nil, "role_not_permitted", "error"},
		"of warnings, all in one list": {nil, map[string]string{
			"eks.amazonaws.com/token-expiration": "1h", "eks.amazonaws.com/skip-containers": "nobody",
		}, "injected", "warnings"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			mutator := webhook.NewMutator(webhook.MutateConfig{
				Resolver: resolverFunc(role), Policy: test.policy, Settings: settings,
				Logger: slog.New(slog.NewJSONHandler(&log, nil)), Metrics: prometheus.NewRegistry(),
			})
			pod := &inject.Pod{Spec: inject.Spec{ServiceAccountName: "app", Containers: []inject.Container{{Name: "app"}}}}
			pod.Metadata.GenerateName, pod.Metadata.Annotations = "app-", test.annotations
			_, err := mutator.Handle(t.Context(), &webhook.Request[inject.Pod]{
				UID: testUID, Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
				Namespace: "default", Operation: admissionv1.Create, Object: pod,
			})
			if err != nil {
				t.Fatal(err)
			}
			var line map[string]any
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("got more than one line of JSON: %v\n%s", err, log.String())
			}
			for key, want := range map[string]string{
				"uid": testUID, "namespace": "default", "pod": "app-", "serviceAccount": "app", "reason": test.reason,
			} {
				if line[key] != want {
					t.Errorf("%s: got %v, want %s", key, line[key], want)
				}
			}
			if list, isList := line[test.key].([]any); test.key == "warnings" && (!isList || len(list) != 2) || line[test.key] == nil {
				t.Errorf("%s is %v", test.key, line[test.key])
			}
		})
	}
}

// TestMutator_ephemeralContainerWithoutPermission sends the request of kubectl debug in a
// namespace that no longer permits the role: it must be admitted without the role.
func TestMutator_ephemeralContainerWithoutPermission(t *testing.T) {
	mutator := webhook.NewMutator(webhook.MutateConfig{
		Resolver: resolverFunc(role), Policy: deniesAll{}, Settings: settings,
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	pod := &inject.Pod{Spec: inject.Spec{ServiceAccountName: "app", Containers: []inject.Container{{Name: "app"}}}}
	answer, err := mutator.Handle(t.Context(), &webhook.Request[inject.Pod]{
		UID: testUID, Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, SubResource: "ephemeralcontainers",
		Namespace: "default", Operation: admissionv1.Update, Object: pod, OldObject: pod,
	})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Reason != webhook.RoleNotPermitted || !answer.Response.Allowed || answer.Response.Patch != nil || len(answer.Response.Warnings) != 1 {
		t.Errorf("got %+v, want it allowed, with a warning and without a patch", answer)
	}
}
