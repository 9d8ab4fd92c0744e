package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Resolver says which identity a ServiceAccount has: nil if it has no role,
// identity.ErrServiceAccountNotFound if it does not exist, any other error if
// that cannot be known before ctx is done.
type Resolver interface {
	Resolve(ctx context.Context, serviceAccount types.NamespacedName) (*identity.Identity, error)
}

// Mutate returns the handler that gives pods their identity.
func Mutate(resolver Resolver, settings inject.Settings, logger *slog.Logger) Handler[inject.Pod] {
	return func(ctx context.Context, request *Request[inject.Pod]) (Answer, error) {
		if request.Kind.Group != "" || request.Kind.Kind != "Pod" {
			return Answer{}, badRequest("the object is a %q of group %q: only pods of the core group can be sent here, "+
				"see the rules of the MutatingWebhookConfiguration", request.Kind.Kind, request.Kind.Group)
		}
		if request.Operation != admissionv1.Create || request.SubResource != "" {
			return allow(inject.Result{Reason: inject.NotPodCreation}, nil), nil
		}
		pod := request.Object
		if pod == nil {
			return Answer{}, badRequest("the request has no object")
		}
		id, result, err := decide(ctx, resolver, request.Namespace, pod, settings)
		if err != nil {
			return Answer{}, err
		}
		logDecision(ctx, logger, request, result)
		return allow(result, id), nil
	}
}

func decide(ctx context.Context, resolver Resolver, namespace string, pod *inject.Pod, settings inject.Settings) (*identity.Identity, inject.Result, error) {
	if reason := inject.Exempt(pod); reason != "" {
		return nil, inject.Result{Reason: reason}, nil
	}
	serviceAccount := types.NamespacedName{Namespace: namespace, Name: pod.Spec.ServiceAccountName}
	id, err := resolver.Resolve(ctx, serviceAccount)
	switch {
	case errors.Is(err, identity.ErrServiceAccountNotFound):
		return nil, inject.Result{Reason: inject.ServiceAccountNotFound}, nil
	case err != nil:
		return nil, inject.Result{}, &Error{
			Status: http.StatusInternalServerError, Reason: IdentityUnknown,
			Err: fmt.Errorf("cannot tell whether the pod's ServiceAccount %s has a role, so the pod is not admitted without it: %w",
				serviceAccount, err),
		}
	}
	result, err := inject.Patch(pod, id, settings)
	return id, result, err
}

// allow makes a response of a decision. id is nil unless the pod has one.
func allow(result inject.Result, id *identity.Identity) Answer {
	answer := Answer{Reason: result.Reason, Response: admissionv1.AdmissionResponse{
		Allowed:          true,
		AuditAnnotations: map[string]string{"reason": string(result.Reason)},
	}}
	for _, warning := range result.Warnings {
		answer.Response.Warnings = append(answer.Response.Warnings, "pod-identity-webhook: "+warning.Message)
	}
	if result.Patch == nil {
		return answer
	}
	answer.Response.Patch = result.Patch
	answer.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	answer.Response.AuditAnnotations["role-arn"] = id.RoleARN
	answer.Response.AuditAnnotations["audience"] = id.Audience
	answer.Response.AuditAnnotations["containers"] = strings.Join(touched(result), ",")
	return answer
}

// touched names the containers that the patch adds to.
func touched(result inject.Result) []string {
	var names []string
	for _, container := range result.Containers {
		if container.Mounted || len(container.Env) > 0 {
			names = append(names, container.Name)
		}
	}
	return names
}

// logDecision writes a line for each pod at debug level, and for one whose user
// should look at something at info level.
func logDecision(ctx context.Context, logger *slog.Logger, request *Request[inject.Pod], result inject.Result) {
	level := slog.LevelDebug
	if len(result.Warnings) > 0 {
		level = slog.LevelInfo
	}
	if !logger.Enabled(ctx, level) {
		return
	}
	name := request.Object.Metadata.Name
	if name == "" {
		name = request.Object.Metadata.GenerateName
	}
	attributes := []slog.Attr{
		slog.String("uid", string(request.UID)),
		slog.String("namespace", request.Namespace),
		slog.String("pod", name),
		slog.String("serviceAccount", request.Object.Spec.ServiceAccountName),
		slog.String("reason", string(result.Reason)),
	}
	for _, warning := range result.Warnings {
		attributes = append(attributes, slog.String("warning", warning.Message))
	}
	logger.LogAttrs(ctx, level, "pod: "+result.Reason.Sentence(), attributes...)
}
