package e2e_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// warnings collects the warnings of the API server, which kubectl prints.
type warnings struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// take returns the warnings since the last call.
func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := strings.Join(w.text, "\n")
	w.text = nil
	return taken
}

// newWarnedClient returns a client and the warnings that its requests cause.
func newWarnedClient(t *testing.T) (kubernetes.Interface, *warnings) {
	t.Helper()
	received := &warnings{}
	config := rest.CopyConfig(cluster.Config())
	config.WarningHandler = received
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, received
}

// validated starts a webhook that the API server calls for ServiceAccounts.
func validated(t *testing.T, client kubernetes.Interface, args ...string) {
	t.Helper()
	webhook := startWebhook(t, args...)
	configurations := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhookprocess.ConfigurationName},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "serviceaccounts.pod-identity-webhook.amazonaws.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: new(webhook.URL() + "/validate-serviceaccount"), CABundle: webhook.CABundle(),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"serviceaccounts"}},
			}},
			FailurePolicy:           new(admissionregistrationv1.Fail),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), webhookprocess.ConfigurationName, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

var errNoWarning = errors.New("no warning")

const userARN = "arn:aws:iam::111122223333:user/app"

func TestValidation_warn(t *testing.T) {
	client, received := newWarnedClient(t)
	validated(t, client)
	namespace := newNamespace(t, client)
	accounts := client.CoreV1().ServiceAccounts(namespace)
	eventually(t, "a malformed role causes a warning", func(ctx context.Context) error {
		_, err := accounts.Create(ctx, serviceAccount("app", userARN), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && !strings.Contains(received.take(), roleAnnotation) {
			err = errNoWarning
		}
		return err
	})
	misspelled := serviceAccount("misspelled", "")
	misspelled.Annotations = map[string]string{"eks.amazon.com/role-arn": appRole}
	if _, err := accounts.Create(t.Context(), misspelled, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := received.take(); !strings.Contains(got, "eks.amazon.com/role-arn") || !strings.Contains(got, roleAnnotation) {
		t.Errorf("misspelled annotation: got warnings %q", got)
	}
	if _, err := accounts.Create(t.Context(), serviceAccount("right", appRole), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := received.take(); got != "" {
		t.Errorf("valid annotation: got warnings %q", got)
	}
}

func TestValidation_deny(t *testing.T) {
	client, received := newWarnedClient(t)
	namespace := newNamespace(t, client)
	accounts := client.CoreV1().ServiceAccounts(namespace)
	if _, err := accounts.Create(t.Context(), serviceAccount("old", userARN), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	validated(t, client, "--serviceaccount-validation=deny")
	eventually(t, "a malformed role is denied", func(ctx context.Context) error {
		_, err := accounts.Create(ctx, serviceAccount("app", userARN), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), roleAnnotation) {
			return nil
		}
		if err == nil {
			err = errNoWarning
		}
		return err
	})
	received.take()
	label := []byte(`{"metadata":{"labels":{"unrelated":"change"}}}`)
	if _, err := accounts.Patch(t.Context(), "old", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Errorf("unrelated update of an object with an old mistake: %v", err)
	}
	worse := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/token-expiration":"1h"}}}`)
	if _, err := accounts.Patch(t.Context(), "old", types.MergePatchType, worse, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("new mistake: got %v, want a denial", err)
	}
}
