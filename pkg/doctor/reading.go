package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// right is what one must be allowed, to read something.
type right struct{ verb, resource, namespace, name string }

func (r right) String() string {
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

// unreadable is the finding about what could not be read. It is never OK, and never
// says that something is broken.
func unreadable(r right, err error) Finding {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return found(Unknown, "not allowed to %s", r).
			because("the API server refuses it to you; whoever may grant it needs this rule: %s", r.rule()).
			given("missing right", r.String())
	}
	return found(Unknown, "could not %s: %v", r, err)
}

// rule is the right as a rule of a Role or, without a namespace, a ClusterRole.
func (r right) rule() string {
	group := ""
	resource := r.resource
	if plain, suffix, ok := strings.Cut(r.resource, "."); ok {
		resource, group = plain, suffix
	}
	return fmt.Sprintf(`{apiGroups: [%q], resources: [%q], verbs: [%q]}`, group, resource, r.verb)
}

// deniedByAWS says whether it is the caller's rights that do not suffice
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
func deniedByAWS(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "UnauthorizedOperation")
}

// unreadableInAWS is the same for a call of AWS's.
func unreadableInAWS(action string, err error) Finding {
	if deniedByAWS(err) {
		return found(Unknown, "not allowed to %s", action).
			because("AWS refuses it to the credentials that are used here; they need the action %s", action).
			given("missing right", action)
	}
	return found(Unknown, "could not %s: %s", action, inAWSWords(err))
}

// inAWSWords leaves out the operation, the status and the id of the request, which
// the SDK puts before what AWS says.
func inAWSWords(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}
