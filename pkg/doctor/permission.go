package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// permission is what one must be allowed, to read something.
type permission struct{ verb, resource, namespace, name string }

func (r permission) String() string {
	said := r.verb + " " + r.resource
	switch {
	case r.name == "":
	case strings.Contains(r.resource, "/"):
		said += " of " + r.name
	default:
		said += "/" + r.name
	}
	if r.namespace != "" {
		said += " in namespace " + r.namespace
	}
	return said
}

// readErrorFinding is the finding about what could not be read. It is never OK, and never
// says that something is broken.
func readErrorFinding(r permission, err error) Finding {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return newFinding(Unknown, "not allowed to %s", r).
			withReason("the API server refuses it to you; whoever may grant it needs this rule: %s", r.rule()).
			withEvidence("missing right", r.String())
	}
	return newFinding(Unknown, "could not %s: %v", r, err)
}

// rule is the right as a rule of a Role or, without a namespace, a ClusterRole.
func (r permission) rule() string {
	group := ""
	resource := r.resource
	if plain, suffix, ok := strings.Cut(r.resource, "."); ok {
		resource, group = plain, suffix
	}
	return fmt.Sprintf(`{apiGroups: [%q], resources: [%q], verbs: [%q]}`, group, resource, r.verb)
}

// isAccessDenied says whether it is the caller's rights that do not suffice
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func isAccessDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "UnauthorizedOperation")
}

// awsReadErrorFinding is the same for a call of AWS's.
func awsReadErrorFinding(action string, err error) Finding {
	if isAccessDenied(err) {
		return newFinding(Unknown, "not allowed to %s", action).
			withReason("AWS refuses it to the credentials that are used here; they need the action %s", action).
			withEvidence("missing right", action)
	}
	return newFinding(Unknown, "could not %s: %s", action, awsErrorMessage(err))
}

// awsErrorMessage leaves out the operation, the status and the id of the request, which
// the SDK puts before what AWS says.
func awsErrorMessage(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}
