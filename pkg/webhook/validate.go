package webhook

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// ValidationMode says what becomes of a ServiceAccount with a mistake in our
// annotations.
type ValidationMode string

const (
	// ValidationOff does not look.
	ValidationOff ValidationMode = "off"
	// ValidationWarn lets it be written, with warnings.
	ValidationWarn ValidationMode = "warn"
	// ValidationDeny refuses what cannot be right, and warns about the rest.
	ValidationDeny ValidationMode = "deny"
)

// ParseValidationMode reads the value of a flag.
func ParseValidationMode(s string) (ValidationMode, error) {
	if mode := ValidationMode(s); slices.Contains([]ValidationMode{ValidationOff, ValidationWarn, ValidationDeny}, mode) {
		return mode, nil
	}
	return "", fmt.Errorf("%q must be off, warn or deny", s)
}

// What was decided about a ServiceAccount.
const (
	ServiceAccountOK         inject.Reason = "serviceaccount_ok"
	ServiceAccountMistake    inject.Reason = "serviceaccount_mistake"
	ServiceAccountDenied     inject.Reason = "serviceaccount_denied"
	ServiceAccountNotChecked inject.Reason = "serviceaccount_not_checked"
)

// ServiceAccount is the view of a ServiceAccount that is written.
type ServiceAccount struct {
	Name, GenerateName string
	Annotations        map[string]string
}

// Read reads the ServiceAccount that r is at.
func (a *ServiceAccount) Read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "metadata" {
			a.readMetadata(r)
		}
	}
}

func (a *ServiceAccount) readMetadata(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "name":
			a.Name = r.String()
		case "generateName":
			a.GenerateName = r.String()
		case "annotations":
			a.Annotations = r.Strings(nil)
		}
	}
}

// ValidateServiceAccount returns the handler that looks at our annotations when
// they are written. Only mistakes that the write makes are judged, so that an old
// one does not keep a ServiceAccount from being changed in other ways.
func ValidateServiceAccount(mode ValidationMode, rules lint.Rules, logger *slog.Logger) Handler[ServiceAccount] {
	return func(ctx context.Context, request *Request[ServiceAccount]) (Decision, error) {
		if request.Kind.Group != "" || request.Kind.Kind != "ServiceAccount" {
			return Decision{}, badRequest("the object is a %q of group %q: only ServiceAccounts of the core group can be sent here, "+
				"see the rules of the ValidatingWebhookConfiguration", request.Kind.Kind, request.Kind.Group)
		}
		writes := request.Operation == admissionv1.Create || request.Operation == admissionv1.Update
		if mode == ValidationOff || !writes || request.SubResource != "" {
			return allowWithWarnings(ServiceAccountNotChecked, nil), nil
		}
		if request.Object == nil {
			return Decision{}, badRequest("the request has no object")
		}
		findings := lint.Account(request.Object.Annotations, rules)
		if request.OldObject != nil {
			old := lint.Account(request.OldObject.Annotations, rules)
			findings = slices.DeleteFunc(findings, func(f lint.Finding) bool { return slices.Contains(old, f) })
		}
		if len(findings) == 0 {
			return allowWithWarnings(ServiceAccountOK, nil), nil
		}
		wrong, doubtful := splitBySeverity(findings)
		answer := allowWithWarnings(ServiceAccountMistake, append(wrong, doubtful...))
		if mode == ValidationDeny && len(wrong) > 0 {
			answer = rejected(request, wrong, doubtful)
		}
		logger.InfoContext(ctx, "ServiceAccount with a mistake in its annotations",
			"uid", request.UID, "namespace", request.Namespace, "serviceAccount", request.Object.name(),
			"reason", answer.Reason, "findings", findingMessages(findings))
		return answer, nil
	}
}

// name is a prefix of the name if the API server has yet to make it.
func (a *ServiceAccount) name() string { return cmp.Or(a.Name, a.GenerateName) }

// splitBySeverity tells what cannot be right from what may be.
func splitBySeverity(findings []lint.Finding) (wrong, doubtful []lint.Finding) {
	for _, finding := range findings {
		if finding.Invalid {
			wrong = append(wrong, finding)
		} else {
			doubtful = append(doubtful, finding)
		}
	}
	return wrong, doubtful
}

// allowWithWarnings lets a ServiceAccount be written, and warns of the findings.
func allowWithWarnings(reason inject.Reason, findings []lint.Finding) Decision {
	messages := make([]string, 0, len(findings))
	for _, finding := range findings {
		messages = append(messages, finding.Message)
	}
	return Decision{Reason: reason, Response: admissionv1.AdmissionResponse{
		Allowed:          true,
		Warnings:         limitWarnings(messages),
		AuditAnnotations: map[string]string{"reason": string(reason)},
	}}
}

// rejected names all that is wrong, and warns of what may be: it would be the next
// surprise.
func rejected(request *Request[ServiceAccount], wrong, doubtful []lint.Finding) Decision {
	answer := allowWithWarnings(ServiceAccountDenied, doubtful)
	answer.Response.Allowed = false
	answer.Response.Result = &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%sServiceAccount %s/%s: %s", warningPrefix, request.Namespace, request.Object.name(),
			strings.Join(findingMessages(wrong), "; ")),
	}
	return answer
}

// findingMessages are the findings with the values at fault.
func findingMessages(findings []lint.Finding) []string {
	said := make([]string, 0, len(findings))
	for _, finding := range findings {
		said = append(said, finding.String())
	}
	return said
}
