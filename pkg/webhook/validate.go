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

// ValidationMode is the response to a mistake in the webhook's annotations of a
// ServiceAccount.
type ValidationMode string

const (
	// ValidationOff disables the check.
	ValidationOff ValidationMode = "off"
	// ValidationWarn admits the ServiceAccount with warnings.
	ValidationWarn ValidationMode = "warn"
	// ValidationDeny denies invalid annotations, and warns about doubtful ones.
	ValidationDeny ValidationMode = "deny"
)

// ParseValidationMode returns the mode with the name s. It returns an error if there is
// none.
func ParseValidationMode(s string) (ValidationMode, error) {
	if mode := ValidationMode(s); slices.Contains([]ValidationMode{ValidationOff, ValidationWarn, ValidationDeny}, mode) {
		return mode, nil
	}
	return "", fmt.Errorf("invalid value %q: must be off, warn or deny", s)
}

// Reasons of decisions about a ServiceAccount.
const (
	ServiceAccountOK         inject.Reason = "serviceaccount_ok"
	ServiceAccountMistake    inject.Reason = "serviceaccount_mistake"
	ServiceAccountDenied     inject.Reason = "serviceaccount_denied"
	ServiceAccountNotChecked inject.Reason = "serviceaccount_not_checked"
)

// ServiceAccount is the part of a ServiceAccount that its validation needs.
type ServiceAccount struct {
	Name, GenerateName string
	Annotations        map[string]string
}

// Read reads the ServiceAccount at the position of r.
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

// ValidateServiceAccount returns the handler that checks the webhook's annotations when a
// ServiceAccount is written. It reports only mistakes that the write adds, so that an old
// mistake does not block other changes. The handler returns an error if the request is
// invalid.
func ValidateServiceAccount(mode ValidationMode, rules lint.Rules, logger *slog.Logger) Handler[ServiceAccount] {
	return func(ctx context.Context, request *Request[ServiceAccount]) (Decision, error) {
		if request.Kind.Group != "" || request.Kind.Kind != "ServiceAccount" {
			return Decision{}, badRequest("object has kind %q and group %q: only ServiceAccounts of the core group are accepted; "+
				"see the rules of the ValidatingWebhookConfiguration", request.Kind.Kind, request.Kind.Group)
		}
		writes := request.Operation == admissionv1.Create || request.Operation == admissionv1.Update
		if mode == ValidationOff || !writes || request.SubResource != "" {
			return allowWithWarnings(ServiceAccountNotChecked, nil), nil
		}
		if request.Object == nil {
			return Decision{}, badRequest("request has no object")
		}
		findings := lint.Account(request.Object.Annotations, rules)
		if request.OldObject != nil {
			old := lint.Account(request.OldObject.Annotations, rules)
			findings = slices.DeleteFunc(findings, func(f lint.Finding) bool { return slices.Contains(old, f) })
		}
		if len(findings) == 0 {
			return allowWithWarnings(ServiceAccountOK, nil), nil
		}
		invalid, doubtful := splitBySeverity(findings)
		answer := allowWithWarnings(ServiceAccountMistake, append(invalid, doubtful...))
		if mode == ValidationDeny && len(invalid) > 0 {
			answer = rejected(request, invalid, doubtful)
		}
		logger.InfoContext(ctx, "Found mistakes in annotations of ServiceAccount",
			"uid", request.UID, "namespace", request.Namespace, "serviceAccount", request.Object.name(),
			"reason", answer.Reason, "findings", findingMessages(findings))
		return answer, nil
	}
}

// name returns the name, or generateName if the API server has not generated the name yet.
func (a *ServiceAccount) name() string { return cmp.Or(a.Name, a.GenerateName) }

// splitBySeverity returns the findings about invalid annotations and the other findings.
func splitBySeverity(findings []lint.Finding) (invalid, doubtful []lint.Finding) {
	for _, finding := range findings {
		if finding.Invalid {
			invalid = append(invalid, finding)
		} else {
			doubtful = append(doubtful, finding)
		}
	}
	return invalid, doubtful
}

// allowWithWarnings returns the response that admits a ServiceAccount, with the findings
// as warnings.
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

// rejected returns the response that denies a ServiceAccount because of all invalid
// annotations. It also warns about the doubtful ones.
func rejected(request *Request[ServiceAccount], invalid, doubtful []lint.Finding) Decision {
	answer := allowWithWarnings(ServiceAccountDenied, doubtful)
	answer.Response.Allowed = false
	answer.Response.Result = &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%sServiceAccount %s/%s: %s", warningPrefix, request.Namespace, request.Object.name(),
			strings.Join(findingMessages(invalid), "; ")),
	}
	return answer
}

// findingMessages returns the messages of the findings with the invalid values.
func findingMessages(findings []lint.Finding) []string {
	messages := make([]string, 0, len(findings))
	for _, finding := range findings {
		messages = append(messages, finding.String())
	}
	return messages
}
