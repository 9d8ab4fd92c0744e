package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// permission is a permission in the cluster that a check needs.
type permission struct{ verb, resource, namespace, name string }

func (r permission) String() string {
	text := r.verb + " " + r.resource
	switch {
	case r.name == "":
	case strings.Contains(r.resource, "/"):
		text += " of " + r.name
	default:
		text += "/" + r.name
	}
	if r.namespace != "" {
		text += " in namespace " + r.namespace
	}
	return text
}

// readErrorFinding returns the finding for a failed read. Its status is always Unknown.
func readErrorFinding(r permission, err error) Finding {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return newFinding(Unknown, "not allowed to %s", r).
			withReason("your RBAC permissions need this rule: %s", r.rule()).
			withEvidence("missing permission", r.String())
	}
	return newFinding(Unknown, "could not %s: %v", r, err)
}

// rule returns the permission as an RBAC rule of a Role or, without a namespace, of a
// ClusterRole.
func (r permission) rule() string {
	group := ""
	resource := r.resource
	if plain, suffix, ok := strings.Cut(r.resource, "."); ok {
		resource, group = plain, suffix
	}
	return fmt.Sprintf(`{apiGroups: [%q], resources: [%q], verbs: [%q]}`, group, resource, r.verb)
}

// isAccessDenied reports whether AWS denied the call because of missing permissions
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func isAccessDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "UnauthorizedOperation")
}

// awsReadErrorFinding returns the finding for a failed call to AWS, with status Unknown.
func awsReadErrorFinding(action string, err error) Finding {
	if isAccessDenied(err) {
		return newFinding(Unknown, "not allowed to call %s", action).
			withReason("your AWS credentials need permission for the action %s", action).
			withEvidence("missing permission", action)
	}
	return newFinding(Unknown, "could not call %s: %s", action, awsErrorMessage(err))
}

// awsErrorMessage returns the code and the message of an error of AWS. It omits the
// operation, status and request ID that the SDK adds.
func awsErrorMessage(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}
