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

// Resolver says which identity a ServiceAccount has, which is not Granted if it
// has none. The error is identity.ErrServiceAccountNotFound if there is no such
// ServiceAccount, any other error if that cannot be known before ctx is done.
type Resolver interface {
	Resolve(ctx context.Context, serviceAccount types.NamespacedName) (*identity.Identity, error)
}

// Policy decides whether the pods of a namespace may have roles: nil if so, a
// *rolepolicy.DeniedError if not, any other error if that cannot be known.
// fromCache reports that the decision follows from what a watch knows of the
// Namespace, and not from a read for this admission.
type Policy interface {
	Permitted(ctx context.Context, namespace string, roleARNs []string) (fromCache bool, err error)
}

// MutateConfig is what a Mutator needs. Policy may be nil: every role is permitted.
type MutateConfig struct {
	Resolver Resolver
	Policy   Policy
	Settings inject.Settings
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Mutator gives pods their identity.
type Mutator struct {
	config MutateConfig
	counts *referenceMetrics
}

// NewMutator returns a Mutator. It may be made once for a registerer.
func NewMutator(config MutateConfig) *Mutator {
	return &Mutator{config: config, counts: newReferenceMetrics(config.Metrics)}
}

// Handle is a Handler for the creation of pods and of ephemeral containers.
func (m *Mutator) Handle(ctx context.Context, request *Request[inject.Pod]) (Decision, error) {
	if request.Kind.Group != "" || request.Kind.Kind != "Pod" {
		return Decision{}, badRequest("the object is a %q of group %q: only pods of the core group can be sent here, "+
			"see the rules of the MutatingWebhookConfiguration", request.Kind.Kind, request.Kind.Group)
	}
	creates := request.Operation == admissionv1.Create && request.SubResource == ""
	debugs := request.Operation == admissionv1.Update && request.SubResource == ephemeralContainers
	if !creates && !debugs {
		return allow(inject.Result{Reason: inject.NotPodCreation}, nil), nil
	}
	if request.Object == nil || debugs && request.OldObject == nil {
		return Decision{}, badRequest("the request has no object")
	}
	id, result, err := m.Decide(ctx, request)
	if err != nil {
		if denied, ok := errors.AsType[*rolepolicy.DeniedError](err); ok {
			logPod(ctx, m.config.Logger, slog.LevelInfo, request, "pod: denied", RoleNotPermitted, slog.Any("error", denied))
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

// Decide decides about a pod that is created, or about the ephemeral containers
// that are added to one. The identity is nil if none was looked for. The error is a
// *rolepolicy.DeniedError, and the identity the one that is denied, if the namespace
// does not permit the role.
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
			"%s: give the pod fewer containers, or its ServiceAccount %s shorter annotations", result.Reason.Description(), serviceAccount)
	}
	return id, result, nil
}

// checkRolePolicy returns id if the namespace may use its roles. With an error of the
// namespace's policy it returns the identity as well.
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

// identityUnknownError is the error of a decision that lacks a fact.
func identityUnknownError(err error) *httperror.Error {
	return httperror.New(http.StatusInternalServerError, string(IdentityUnknown),
		"cannot determine the pod's identity: %w", err)
}

// admitWithoutRole returns the response for ephemeral containers whose role the
// namespace does not permit. They do not get the role, but kubectl debug, which is
// needed most when something is wrong, works.
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

// auditAnnotations returns those of every response. id may be nil.
func auditAnnotations(reason inject.Reason, id *identity.Identity) map[string]string {
	annotations := map[string]string{"reason": string(reason)}
	if id != nil && id.FromCache {
		annotations["source"] = "cache"
	}
	return annotations
}

// allow makes a response of a decision. id may be nil if there is no patch.
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

// warningsOf returns what the user is told, nil for nothing.
func warningsOf(result inject.Result) []string {
	var messages []string
	for _, warning := range result.Warnings {
		messages = append(messages, warning.Message)
	}
	return messages
}

// patchedContainers names the containers that the patch adds to.
func patchedContainers(result inject.Result) []string {
	var names []string
	for _, container := range result.Containers {
		if container.Mounted || len(container.Env) > 0 {
			names = append(names, container.Name)
		}
	}
	return names
}

// logDecision writes a line for each pod at debug level, and for one whose user
// should look at something at info level, with all there is to look at.
func logDecision(ctx context.Context, logger *slog.Logger, request *Request[inject.Pod], result inject.Result) {
	message := "pod: " + result.Reason.Description()
	if warnings := warningsOf(result); len(warnings) > 0 {
		logPod(ctx, logger, slog.LevelInfo, request, message, result.Reason, slog.Any("warnings", warnings))
		return
	}
	logPod(ctx, logger, slog.LevelDebug, request, message, result.Reason)
}

// logPod writes a line about a pod. One with a generated name has none yet.
func logPod(ctx context.Context, logger *slog.Logger, level slog.Level, request *Request[inject.Pod], message string, reason inject.Reason, more ...slog.Attr) {
	if !logger.Enabled(ctx, level) {
		return
	}
	metadata := &request.Object.Metadata
	logger.LogAttrs(ctx, level, message, append([]slog.Attr{
		slog.String("uid", string(request.UID)),
		slog.String("namespace", request.Namespace),
		slog.String("pod", cmp.Or(metadata.Name, metadata.GenerateName)),
		slog.String("serviceAccount", request.Object.Spec.ServiceAccountName),
		slog.String("reason", string(reason)),
	}, more...)...)
}
