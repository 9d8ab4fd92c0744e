package webhookprocess

import (
	"context"
	"encoding/json"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// ConfigurationName is the name of the MutatingWebhookConfiguration.
const ConfigurationName = "pod-identity-webhook"

// Literals instead of the product's constants, so that a change of the constants fails the
// tests.
const (
	annotationPrefix = "eks.amazonaws.com"
	roleAnnotation   = "role-arn"
	skipLabel        = "eks.amazonaws.com/skip-pod-identity-webhook"
)

// fieldOwner is the field manager of the webhook configuration.
const fieldOwner = "pod-identity-webhook-test"

// RegisterOptions are the settings of the webhook configuration.
type RegisterOptions struct {
	// FailurePolicy is the failurePolicy; empty means Fail.
	FailurePolicy admissionregistrationv1.FailurePolicyType
	// TimeoutSeconds is the timeout, 1 to 30; 0 means 10, the API server's default.
	TimeoutSeconds int32
	// AnnotationPrefix is the webhook's annotation prefix; empty means the default. The
	// pods with which Register checks that the webhook is called need it.
	AnnotationPrefix string
	// ReviewVersions are the AdmissionReview versions; empty means only v1.
	ReviewVersions []string
	// Service is a Service of the webhook, which the API server calls; nil means by URL.
	Service *admissionregistrationv1.ServiceReference
}

// Register creates the webhook configuration for new pods and for new ephemeral containers, and
// waits until the API server calls the webhook. A second call changes the configuration;
// the API server applies the change a moment later.
func (w *Webhook) Register(ctx context.Context, client kubernetes.Interface, registration RegisterOptions) error {
	configuration, err := json.Marshal(w.configuration(registration))
	if err != nil {
		return fmt.Errorf("encode webhook configuration: %w", err)
	}
	_, err = client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, ConfigurationName, types.ApplyPatchType, configuration,
		metav1.PatchOptions{FieldManager: fieldOwner, Force: new(true), FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return fmt.Errorf("apply webhook configuration: %w", err)
	}
	if err := waitCalled(ctx, client, registration); err != nil {
		return fmt.Errorf("wait until the API server calls the webhook: %w", err)
	}
	return nil
}

func (w *Webhook) configuration(registration RegisterOptions) *admissionregistrationv1.MutatingWebhookConfiguration {
	if registration.FailurePolicy == "" {
		registration.FailurePolicy = admissionregistrationv1.Fail
	}
	if len(registration.ReviewVersions) == 0 {
		registration.ReviewVersions = []string{"v1"}
	}
	if registration.TimeoutSeconds == 0 {
		registration.TimeoutSeconds = 10
	}
	clientConfig := admissionregistrationv1.WebhookClientConfig{CABundle: w.CABundle(), Service: registration.Service}
	if registration.Service == nil {
		clientConfig.URL = new(w.URL() + "/mutate")
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(),
			Kind:       "MutatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: ConfigurationName},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:         "pod-identity-webhook.amazonaws.com",
			ClientConfig: clientConfig,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{corev1.GroupName},
					APIVersions: []string{"v1"},
					Resources:   []string{"pods"},
					Scope:       new(admissionregistrationv1.NamespacedScope),
				},
			}, {
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{corev1.GroupName},
					APIVersions: []string{"v1"},
					Resources:   []string{"pods/ephemeralcontainers"},
					Scope:       new(admissionregistrationv1.NamespacedScope),
				},
			}},
			ObjectSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{
					Key:      skipLabel,
					Operator: metav1.LabelSelectorOpDoesNotExist,
				}},
			},
			// The kubelet needs unchanged mirror pods, and they cannot have a ServiceAccount.
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "exclude-mirror-pods",
				Expression: "!has(object.metadata.annotations) || !('" +
					corev1.MirrorPodAnnotationKey + "' in object.metadata.annotations)",
			}},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: registration.ReviewVersions,
			FailurePolicy:           &registration.FailurePolicy,
			TimeoutSeconds:          &registration.TimeoutSeconds,
			// A later webhook may add containers, which need the identity too.
			ReinvocationPolicy: new(admissionregistrationv1.IfNeededReinvocationPolicy),
		}},
	}
}
