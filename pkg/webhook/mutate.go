package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// ephemeralContainers is the subresource that kubectl debug updates.
const ephemeralContainers = "ephemeralcontainers"

// Resolver returns the identity of a ServiceAccount. If the ServiceAccount has none,
// IsSet of the identity returns false. If the ServiceAccount does not exist, Resolve
// returns an error that wraps identity.ErrServiceAccountNotFound. It returns any other
// error if it cannot determine the identity before ctx is done.
type Resolver interface {
	Resolve(ctx context.Context, serviceAccount types.NamespacedName) (*identity.Identity, error)
}

// Policy decides whether the pods of a namespace may use roles. Permitted returns nil if
// they may, a *rolepolicy.DeniedError if they may not, and any other error if it cannot
// determine that. fromCache reports whether the decision is based on a cached Namespace
// and not on a read for this request.
type Policy interface {
	Permitted(ctx context.Context, namespace string, roleARNs []string) (fromCache bool, err error)
}

// MutateConfig is the configuration of a Mutator. If Policy is nil, every role is
// permitted.
type MutateConfig struct {
	Resolver Resolver
	Policy   Policy
	Settings inject.Settings
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Mutator injects identities into pods.
type Mutator struct {
	config MutateConfig
	counts *referenceMetrics
}

// NewMutator returns a Mutator. It panics if it is called twice with the same registerer.
func NewMutator(config MutateConfig) *Mutator {
	return &Mutator{config: config, counts: newReferenceMetrics(config.Metrics)}
}

// Handle is a Handler for the creation of pods and of ephemeral containers. It returns an
// error if the request is invalid or the identity cannot be determined.
func (m *Mutator) Handle(ctx context.Context, request *Request[inject.Pod]) (Decision, error) {
	if request.Kind.Group != "" || request.Kind.Kind != "Pod" {
		return Decision{}, badRequest("object has kind %q and group %q: only pods of the core group are accepted; "+
			"see the rules of the MutatingWebhookConfiguration", request.Kind.Kind, request.Kind.Group)
	}
	creates := request.Operation == admissionv1.Create && request.SubResource == ""
	debugs := request.Operation == admissionv1.Update && request.SubResource == ephemeralContainers
	if !creates && !debugs {
		return allow(inject.Result{Reason: inject.NotPodCreation}, nil), nil
	}
	if request.Object == nil || debugs && request.OldObject == nil {
		return Decision{}, badRequest("request has no object")
	}
	id, result, err := m.Decide(ctx, request)
	if err != nil {
		if denied, ok := errors.AsType[*rolepolicy.DeniedError](err); ok {
			logPod(ctx, m.config.Logger, slog.LevelInfo, request, "Denied pod", RoleNotPermitted, slog.Any("error", denied))
			if debugs {
				return admitWithoutRole(request, id, denied), nil
			}
			return deny(request, id, denied), nil
		}
		return Decision{}, err
	}
	m.counts.count(id, result)
	logDecision(ctx, m.config.Logger, request, result)
	return allow(result, id), nil
}

// Decide returns the result for a pod that is created, or for the ephemeral containers
// that are added to one. The identity is nil if the decision does not need it. If the
// namespace does not permit the role, Decide returns the denied identity and a
// *rolepolicy.DeniedError. It returns an *httperror.Error if the identity cannot be
// determined or the patch is too large.
func (m *Mutator) Decide(ctx context.Context, request *Request[inject.Pod]) (*identity.Identity, inject.Result, error) {
	pod := request.Object
	if reason := inject.SkipReason(pod); reason != "" {
		return nil, inject.Result{Reason: reason}, nil
	}
	serviceAccount := types.NamespacedName{Namespace: request.Namespace, Name: pod.Spec.ServiceAccountName}
	id, err := m.config.Resolver.Resolve(ctx, serviceAccount)
	switch {
	case errors.Is(err, identity.ErrServiceAccountNotFound):
		return nil, inject.Result{Reason: inject.ServiceAccountNotFound}, nil
	case err != nil:
		return nil, inject.Result{}, identityUnknownError(fmt.Errorf("get ServiceAccount %s: %w", serviceAccount, err))
	}
	if id, err = m.checkRolePolicy(ctx, request.Namespace, id); err != nil {
		return id, inject.Result{}, err
	}
	var result inject.Result
	if request.SubResource == ephemeralContainers {
		result = inject.PatchEphemeral(pod, request.OldObject, id, m.config.Settings)
	} else {
		result = inject.Patch(pod, id, m.config.Settings)
	}
	if result.Reason == inject.PatchTooLarge {
		return nil, inject.Result{}, httperror.New(http.StatusRequestEntityTooLarge, string(inject.PatchTooLarge),
			"%s: use fewer containers in the pod, or shorter annotations on its ServiceAccount %s", result.Reason.Description(), serviceAccount)
	}
	return id, result, nil
}

// checkRolePolicy returns id if the namespace may use its roles. If it may not, it
// returns id and a *rolepolicy.DeniedError.
func (m *Mutator) checkRolePolicy(ctx context.Context, namespace string, id *identity.Identity) (*identity.Identity, error) {
	if m.config.Policy == nil {
		return id, nil
	}
	var roles []string
	for _, role := range []string{id.RoleARN, id.TargetRoleARN} {
		if role != "" {
			roles = append(roles, role)
		}
	}
	if len(roles) == 0 {
		return id, nil
	}
	fromCache, err := m.config.Policy.Permitted(ctx, namespace, roles)
	if fromCache && !id.FromCache {
		shared := *id
		shared.FromCache = true
		id = &shared
	}
	if _, denied := errors.AsType[*rolepolicy.DeniedError](err); err == nil || denied {
		return id, err
	}
	return nil, identityUnknownError(fmt.Errorf("get role policy of namespace %s for role %s: %w", namespace, strings.Join(roles, " and "), err))
}

// identityUnknownError returns the error of a request whose decision is not possible
// because of err.
func identityUnknownError(err error) *httperror.Error {
	return httperror.New(http.StatusInternalServerError, string(IdentityUnknown),
		"cannot determine the pod's identity: %w", err)
}

// admitWithoutRole returns the response for ephemeral containers whose role the namespace
// does not permit. It admits them without the role, so that kubectl debug works.
func admitWithoutRole(request *Request[inject.Pod], id *identity.Identity, denied *rolepolicy.DeniedError) Decision {
	message := fmt.Sprintf("ServiceAccount %s/%s: %s", request.Namespace, request.Object.Spec.ServiceAccountName, denied.Error())
	return allow(inject.Result{Reason: RoleNotPermitted, Warnings: []inject.Warning{{Reason: RoleNotPermitted, Message: message}}}, id)
}

// deny returns the response for a role that the namespace does not permit.
func deny(request *Request[inject.Pod], id *identity.Identity, denied *rolepolicy.DeniedError) Decision {
	message := fmt.Sprintf(warningPrefix+"ServiceAccount %s/%s: %s",
		request.Namespace, request.Object.Spec.ServiceAccountName, denied.Error())
	return Decision{Reason: RoleNotPermitted, Response: admissionv1.AdmissionResponse{
		Allowed:          false,
		AuditAnnotations: auditAnnotations(RoleNotPermitted, id),
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message,
		},
	}}
}

// auditAnnotations returns the audit annotations that every response has. id may be nil.
func auditAnnotations(reason inject.Reason, id *identity.Identity) map[string]string {
	annotations := map[string]string{"reason": string(reason)}
	if id != nil && id.FromCache {
		annotations["source"] = "cache"
	}
	return annotations
}

// allow returns the response that admits an object with a result. id may be nil if there
// is no patch.
func allow(result inject.Result, id *identity.Identity) Decision {
	answer := Decision{Reason: result.Reason, Response: admissionv1.AdmissionResponse{
		Allowed:          true,
		AuditAnnotations: auditAnnotations(result.Reason, id),
	}}
	answer.Response.Warnings = limitWarnings(warningsOf(result))
	if result.Patch == nil {
		return answer
	}
	answer.Response.Patch = result.Patch
	answer.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	audit := answer.Response.AuditAnnotations
	audit["audience"] = id.Audience
	audit["containers"] = strings.Join(patchedContainers(result), ",")
	if id.RoleARN != "" {
		audit["role-arn"] = id.RoleARN
	}
	if id.TargetRoleARN != "" {
		audit["target-role-arn"] = id.TargetRoleARN
	}
	return answer
}

// warningsOf returns the messages of the warnings, nil for none.
func warningsOf(result inject.Result) []string {
	var messages []string
	for _, warning := range result.Warnings {
		messages = append(messages, warning.Message)
	}
	return messages
}

// patchedContainers returns the names of the containers that the patch changes.
func patchedContainers(result inject.Result) []string {
	var names []string
	for _, container := range result.Containers {
		if container.Mounted || len(container.Env) > 0 {
			names = append(names, container.Name)
		}
	}
	return names
}

// logDecision logs a line for each pod: at info level with all warnings if there are any,
// else at debug level.
func logDecision(ctx context.Context, logger *slog.Logger, request *Request[inject.Pod], result inject.Result) {
	description := slog.String("description", result.Reason.Description())
	if warnings := warningsOf(result); len(warnings) > 0 {
		logPod(ctx, logger, slog.LevelInfo, request, "Admitted pod with warnings", result.Reason, description, slog.Any("warnings", warnings))
		return
	}
	logPod(ctx, logger, slog.LevelDebug, request, "Admitted pod", result.Reason, description)
}

// logPod logs a line about a pod. It uses generateName if the pod has no name yet.
func logPod(ctx context.Context, logger *slog.Logger, level slog.Level, request *Request[inject.Pod], message string, reason inject.Reason, more ...slog.Attr) {
	if !logger.Enabled(ctx, level) {
		return
	}
	metadata := &request.Object.Metadata
	logger.LogAttrs(ctx, level, message, append([]slog.Attr{ //nolint:sloglint // the constant of the caller
		slog.String("uid", string(request.UID)),
		slog.String("namespace", request.Namespace),
		slog.String("pod", cmp.Or(metadata.Name, metadata.GenerateName)),
		slog.String("serviceAccount", request.Object.Spec.ServiceAccountName),
		slog.String("reason", string(reason)),
	}, more...)...)
}
