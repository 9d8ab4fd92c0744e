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

// The contract's own words, not the product's constants for them: a change of
// those must not go unnoticed here.
const (
	annotationPrefix = "eks.amazonaws.com"
	roleAnnotation   = "role-arn"
	skipLabel        = "eks.amazonaws.com/skip-pod-identity-webhook"
)

// fieldOwner is who the API server's record of fields names.
const fieldOwner = "pod-identity-webhook-test"

// Registration is what an operator chooses about how the API server calls the
// webhook.
type Registration struct {
	// FailurePolicy is what becomes of a pod when the webhook fails; empty
	// means Fail.
	FailurePolicy admissionregistrationv1.FailurePolicyType
	// TimeoutSeconds is how long the API server waits for an answer, 1 to 30;
	// 0 means 10, the API server's own default.
	TimeoutSeconds int32
	// AnnotationPrefix is the one that the webhook was started with; empty
	// means the default. The pods that show whether it is called need it.
	AnnotationPrefix string
	// ReviewVersions are those of AdmissionReview that are offered; empty means
	// v1 alone.
	ReviewVersions []string
	// Service is a Service that leads to the webhook, by which the API server is to
	// call it; nil means by URL.
	Service *admissionregistrationv1.ServiceReference
}

// Register makes the API server call the webhook for each pod that is created,
// and for each ephemeral container that is added to one, and returns when it
// does so. To register again changes the registration; the
// API server then takes a moment to see the change.
func (w *Webhook) Register(ctx context.Context, client kubernetes.Interface, registration Registration) error {
	configuration, err := json.Marshal(w.configuration(registration))
	if err != nil {
		return fmt.Errorf("encode the registration: %w", err)
	}
	_, err = client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, ConfigurationName, types.ApplyPatchType, configuration,
		metav1.PatchOptions{FieldManager: fieldOwner, Force: new(true), FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return fmt.Errorf("register the webhook: %w", err)
	}
	if err := waitCalled(ctx, client, registration); err != nil {
		return fmt.Errorf("wait until the API server calls the webhook: %w", err)
	}
	return nil
}

func (w *Webhook) configuration(registration Registration) *admissionregistrationv1.MutatingWebhookConfiguration {
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
			// The kubelet needs its mirror pods as they are, and they can have
			// no ServiceAccount.
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "exclude-mirror-pods",
				Expression: "!has(object.metadata.annotations) || !('" +
					corev1.MirrorPodAnnotationKey + "' in object.metadata.annotations)",
			}},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: registration.ReviewVersions,
			FailurePolicy:           &registration.FailurePolicy,
			TimeoutSeconds:          &registration.TimeoutSeconds,
			// A webhook after this one may add containers, which need the
			// identity too.
			ReinvocationPolicy: new(admissionregistrationv1.IfNeededReinvocationPolicy),
		}},
	}
}
