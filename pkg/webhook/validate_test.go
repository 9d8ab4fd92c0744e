package webhook_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// annotated returns a ServiceAccount with annotations of the webhook.
func annotated(annotations map[string]string) *webhook.ServiceAccount {
	account := &webhook.ServiceAccount{}
	account.Name = "app"
	account.Annotations = map[string]string{}
	for name, value := range annotations {
		account.Annotations["eks.amazonaws.com/"+name] = value
	}
	return account
}

func TestValidateServiceAccount(t *testing.T) {
	const good, bad, soft = "arn:aws:iam::111122223333:role/app", "arn:aws:iam::111122223333:user/app", "arn:minio:iam:::role/app"
	type annotations = map[string]string
	tests := []struct {
		name      string
		mode      webhook.ValidationMode
		old, now  annotations
		operation admissionv1.Operation
		reason    inject.Reason
		allowed   bool
		warnings  int
	}{
		{"a right one", "deny", nil, annotations{"role-arn": good}, "CREATE", webhook.ServiceAccountOK, true, 0},
		{"one of no interest", "deny", nil, nil, "CREATE", webhook.ServiceAccountOK, true, 0},
		{"a mistake is warned about", "warn", nil, annotations{"role-arn": bad}, "CREATE", webhook.ServiceAccountMistake, true, 1},
		{"a mistake is refused on request", "deny", nil, annotations{"role-arn": bad}, "CREATE", webhook.ServiceAccountDenied, false, 0},
		{"what may be right is never refused", "deny", nil, annotations{"role-arn": soft}, "CREATE", webhook.ServiceAccountMistake, true, 1},
		{"off does not look", "off", nil, annotations{"role-arn": bad}, "CREATE", webhook.ServiceAccountNotChecked, true, 0},
		{"an old mistake is not reported", "deny", annotations{"role-arn": bad}, annotations{"role-arn": bad, "audience": "x"}, "UPDATE", webhook.ServiceAccountOK, true, 0},
		{"a changed mistake is reported", "deny", annotations{"role-arn": bad}, annotations{"role-arn": bad + "2"}, "UPDATE", webhook.ServiceAccountDenied, false, 0},
		{"only the new one of two mistakes is reported", "warn", annotations{"role-arn": bad}, annotations{"role-arn": bad, "token-expiration": "1h"}, "UPDATE", webhook.ServiceAccountMistake, true, 1},
		{"a fixed mistake is not reported", "deny", annotations{"role-arn": bad}, annotations{"role-arn": good}, "UPDATE", webhook.ServiceAccountOK, true, 0},
		{"a mistake that is removed is none", "deny", annotations{"role-arn": bad}, nil, "UPDATE", webhook.ServiceAccountOK, true, 0},
		{
			"a mistake made by removing another annotation is reported", "deny",
			annotations{"role-arn": good, "target-role-arn": good, "target-external-id": "ab"},
			annotations{"role-arn": good, "target-external-id": "ab"},
			"UPDATE", webhook.ServiceAccountMistake, true, 1,
		},
		{
			"an old incomplete chain is not reported", "deny",
			annotations{"target-external-id": "ab"},
			annotations{"target-external-id": "ab", "role-arn": good},
			"UPDATE", webhook.ServiceAccountOK, true, 0,
		},
		{"an empty list of containers is never refused", "deny", nil, annotations{"skip-containers": ""}, "CREATE", webhook.ServiceAccountMistake, true, 1},
		{"a misspelled key is never denied", "deny", nil, annotations{"role_arn": good}, "CREATE", webhook.ServiceAccountMistake, true, 1},
		{"a refusal warns of what may be right", "deny", nil, annotations{"role-arn": bad, "audience": "", "skip-container": "a"}, "CREATE", webhook.ServiceAccountDenied, false, 2},
		{
			"a role of Ceph is right at its endpoint", "deny", nil,
			annotations{"role-arn": "arn:aws:iam:::role/S3Access", "sts-endpoint": "https://rgw.example.com"},
			"CREATE", webhook.ServiceAccountOK, true, 0,
		},
		{"a deletion is not checked", "deny", annotations{"role-arn": bad}, nil, "DELETE", webhook.ServiceAccountNotChecked, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			handle := webhook.ValidateServiceAccount(test.mode, lint.Rules{Prefix: "eks.amazonaws.com"}, slog.New(slog.DiscardHandler))
			request := &webhook.Request[webhook.ServiceAccount]{
				Kind: metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, Namespace: "default",
				Operation: test.operation, Object: annotated(test.now),
			}
			if test.operation != "CREATE" {
				request.OldObject = annotated(test.old)
			}
			answer, err := handle(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Reason != test.reason || answer.Response.Allowed != test.allowed || len(answer.Response.Warnings) != test.warnings {
				t.Errorf("got %+v", answer)
			}
			if test.allowed {
				return
			}
			if status := answer.Response.Result; status.Code != http.StatusForbidden || !strings.Contains(status.Message, "default/app") ||
				!strings.Contains(status.Message, "arn:aws:iam::111122223333:role/NAME") || !strings.Contains(status.Message, bad) {
				t.Errorf("got %+v, want the name, the value and a valid example", status)
			}
		})
	}
}

func TestValidateServiceAccount_warningOrder(t *testing.T) {
	handle := webhook.ValidateServiceAccount("warn", lint.Rules{Prefix: "eks.amazonaws.com"}, slog.New(slog.DiscardHandler))
	answer, err := handle(t.Context(), &webhook.Request[webhook.ServiceAccount]{
		Kind: metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, Operation: admissionv1.Create,
		Object: annotated(map[string]string{
			"role-arn": "arn:minio:iam:::role/app", "audience": "", "token-expiration": "1", "target-external-id": "an-id", "skip_containers": "a",
			"sts-endpoint": "here", "role-session-name": "a b",
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	warnings := answer.Response.Warnings
	if len(warnings) != 5 || !strings.HasSuffix(warnings[4], "and 3 more, see the webhook's log") {
		t.Fatalf("got %q, want 5 warnings, the last with the number of the others", warnings)
	}
	for i, annotation := range []string{"role-session-name", "sts-endpoint"} {
		if !strings.HasPrefix(warnings[i], "pod-identity-webhook: eks.amazonaws.com/"+annotation+" ") {
			t.Errorf("warning %d: got %q, want one for %s", i, warnings[i], annotation)
		}
	}
}

func TestValidateServiceAccount_log(t *testing.T) {
	var log strings.Builder
	handle := webhook.ValidateServiceAccount("warn", lint.Rules{Prefix: "eks.amazonaws.com"}, slog.New(slog.NewJSONHandler(&log, nil)))
	_, err := handle(t.Context(), &webhook.Request[webhook.ServiceAccount]{
		UID: "a-uid", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, Namespace: "team", Operation: admissionv1.Create,
		Object: annotated(map[string]string{"token-expiration": "1h"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"uid":"a-uid"`, `"namespace":"team"`, `"serviceAccount":"app"`, `"reason":"serviceaccount_mistake"`,
		`"eks.amazonaws.com/token-expiration is not a number of seconds, such as 3600 (got \"1h\")"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("got log %s, want it to contain %s", log.String(), want)
		}
	}
}

func TestParseValidationMode(t *testing.T) {
	for _, known := range []webhook.ValidationMode{webhook.ValidationWarn, webhook.ValidationDeny, webhook.ValidationOff} {
		if got, err := webhook.ParseValidationMode(string(known)); got != known || err != nil {
			t.Errorf("%s: got %q, %v", known, got, err)
		}
	}
	for _, unknown := range []string{"", "Warn", "true"} {
		if _, err := webhook.ParseValidationMode(unknown); err == nil {
			t.Errorf("%q is accepted, want an error", unknown)
		}
	}
}

func TestValidateServiceAccount_noObject(t *testing.T) {
	handle := webhook.ValidateServiceAccount("warn", lint.Rules{Prefix: "eks.amazonaws.com"}, slog.New(slog.DiscardHandler))
	_, err := handle(t.Context(), &webhook.Request[webhook.ServiceAccount]{
		Kind: metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, Operation: admissionv1.Create,
	})
	wantBadRequest(t, err, "no object")
}

func wantBadRequest(t *testing.T, err error, text string) {
	t.Helper()
	failure, ok := errors.AsType[*httperror.Error](err)
	if !ok || failure.Status != http.StatusBadRequest || !strings.Contains(failure.Error(), text) {
		t.Errorf("got %v, want a bad request: %s", err, text)
	}
}

func TestValidateServiceAccount_wrongKind(t *testing.T) {
	handle := webhook.ValidateServiceAccount("warn", lint.Rules{Prefix: "eks.amazonaws.com"}, slog.New(slog.DiscardHandler))
	_, err := handle(t.Context(), &webhook.Request[webhook.ServiceAccount]{Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}})
	wantBadRequest(t, err, `"Pod"`)
}
