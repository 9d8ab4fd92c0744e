package webhook_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// annotated returns a ServiceAccount with annotations of ours.
func annotated(annotations map[string]string) *webhook.ServiceAccount {
	account := &webhook.ServiceAccount{}
	account.Metadata.Name = "app"
	account.Metadata.Annotations = map[string]string{}
	for name, value := range annotations {
		account.Metadata.Annotations["eks.amazonaws.com/"+name] = value
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
		{"an old mistake is not judged", "deny", annotations{"role-arn": bad}, annotations{"role-arn": bad, "audience": "x"}, "UPDATE", webhook.ServiceAccountOK, true, 0},
		{"an old mistake made another is judged", "deny", annotations{"role-arn": bad}, annotations{"role-arn": bad + "2"}, "UPDATE", webhook.ServiceAccountDenied, false, 0},
		{"a new mistake beside an old one is judged", "warn", annotations{"role-arn": bad}, annotations{"role-arn": bad, "token-expiration": "1h"}, "UPDATE", webhook.ServiceAccountMistake, true, 1},
		{"a mistake that is mended is none", "deny", annotations{"role-arn": bad}, annotations{"role-arn": good}, "UPDATE", webhook.ServiceAccountOK, true, 0},
		{"a deletion", "deny", annotations{"role-arn": bad}, nil, "DELETE", webhook.ServiceAccountNotChecked, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			handle := webhook.ValidateServiceAccount(test.mode, "eks.amazonaws.com", false, slog.New(slog.DiscardHandler))
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
				!strings.Contains(status.Message, "arn:aws:iam::111122223333:role/my-role") {
				t.Errorf("got %+v, want the name and a right example", status)
			}
		})
	}
}

func TestWhatIsNoServiceAccountIsABadRequest(t *testing.T) {
	handle := webhook.ValidateServiceAccount("warn", "eks.amazonaws.com", false, slog.New(slog.DiscardHandler))
	_, err := handle(t.Context(), &webhook.Request[webhook.ServiceAccount]{Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}})
	if err == nil || !strings.Contains(err.Error(), `"Pod"`) {
		t.Errorf("got %v", err)
	}
}
