package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/configmap"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

// exampleRole is a placeholder for the ARN that the user must insert.
const exampleRole = "arn:aws:iam::111122223333:role/NAME"

func checkServiceAccount(ctx context.Context, x *checkState) Finding {
	if x.serviceAccount == "" {
		return newFinding(Broken, "the pod has no ServiceAccount").
			withReason("a static pod cannot have a ServiceAccount or its token; run it as a DaemonSet instead")
	}
	if x.account == nil {
		account, err := x.Client.CoreV1().ServiceAccounts(x.namespace).Get(ctx, x.serviceAccount, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return newFinding(Broken, "ServiceAccount %s/%s does not exist", x.namespace, x.serviceAccount).
				withReason("the API server rejects new pods that use it").
				withFix(kubectl+" create serviceaccount %s -n %s", x.serviceAccount, x.namespace)
		}
		if err != nil {
			return readErrorFinding(permission{"get", "serviceaccounts", x.namespace, x.serviceAccount}, err)
		}
		x.account = account
	}
	return newFinding(OK, "ServiceAccount %s/%s exists", x.namespace, x.serviceAccount)
}

// mappingInfo is the content of the ConfigMap of roles.
type mappingInfo struct {
	mapping *identity.Mapping
	// skipped are the invalid entries. undecodable is the error if the content as a
	// whole cannot be decoded.
	skipped     identity.EntryErrors
	undecodable error
	at          string
	err         error
}

func (d *Doctor) mapping(ctx context.Context, s settings) mappingInfo {
	return d.known.mapping.get(struct{}{}, func() mappingInfo {
		v := mappingInfo{at: "ConfigMap " + s.namespace + "/" + usualName}
		found, err := d.Client.CoreV1().ConfigMaps(s.namespace).Get(ctx, usualName, metav1.GetOptions{})
		if err != nil {
			v.err = err
			return v
		}
		if content, ok := found.Data[configmap.Key]; ok {
			v.mapping, v.skipped, v.undecodable = identity.ParseMapping([]byte(content), s.identity)
		}
		return v
	})
}

func checkRole(ctx context.Context, x *checkState) Finding {
	x.identity = identity.FromAnnotations(x.account.Annotations, x.settings.identity)
	key := x.settings.identity.AnnotationPrefix + "/" + identity.RoleARNAnnotation
	if x.identity.IsSet() {
		return newFinding(OK, "ServiceAccount %s/%s has role %s", x.namespace, x.serviceAccount, x.identity.RoleARN).withEvidence("annotation", key)
	}
	x.typos = lint.Misspelled(x.account.Annotations, x.settings.identity.AnnotationPrefix)
	if x.settings.configMap {
		view := x.mapping(ctx, x.settings)
		if mapped := view.mapping.Identity(types.NamespacedName{Namespace: x.namespace, Name: x.serviceAccount}); mapped != nil && mapped.IsSet() {
			x.identity = mapped
			return newFinding(OK, "%s gives ServiceAccount %s/%s role %s", view.at, x.namespace, x.serviceAccount, mapped.RoleARN)
		}
		if view.err != nil && !apierrors.IsNotFound(view.err) {
			return readErrorFinding(permission{"get", "configmaps", x.settings.namespace, usualName}, view.err)
		}
	}
	if slices.ContainsFunc(x.pods, usesPodIdentity) {
		return newFinding(Skipped, "skipped: pods of ServiceAccount %s/%s use EKS Pod Identity", x.namespace, x.serviceAccount).
			withReason("the ServiceAccount has no annotation %s; the agent on the node has the role", key)
	}
	none := evaluateNoRole(x.account, key, x.typos)
	mapped, view := x.possibleMapping(ctx)
	if x.settings.configMap {
		view = x.mapping(ctx, x.settings)
	}
	if len(view.skipped) > 0 {
		none.Why += fmt.Sprintf("; the webhook skips invalid entries of %s: %s", view.at, view.skipped)
	}
	switch {
	case view.undecodable != nil && len(x.typos) == 0:
		return newFinding(Unknown, "role of ServiceAccount %s/%s is unknown: %s cannot be decoded", x.namespace, x.serviceAccount, view.at).
			withReason("%v; a webhook with --watch-config-map keeps the last mapping that it decoded, which doctor cannot read; %s", view.undecodable, none.Summary)
	case mapped != "":
		return newFinding(Unknown, "cannot determine whether the webhook reads role %s from %s", mapped, view.at).
			withReason("the webhook reads it only with --watch-config-map; %s", none.Summary)
	case apierrors.IsForbidden(view.err) && len(x.typos) == 0:
		return newFinding(Unknown, "role of ServiceAccount %s/%s is unknown: not allowed to get %s", x.namespace, x.serviceAccount, view.at).
			withReason("the webhook reads it only with --watch-config-map; %s", none.Summary).withFix("%s", none.Fix)
	default:
		return none
	}
}

// possibleMapping reads the ConfigMap of roles from its usual place if the flags of the
// webhook are unknown. It returns the role of the ServiceAccount, or "".
func (x *checkState) possibleMapping(ctx context.Context) (role string, view mappingInfo) {
	if len(x.webhook.pods) > 0 {
		return "", mappingInfo{}
	}
	assumed := x.settings
	if reference := x.webhook.reference(); reference != nil {
		assumed.namespace = reference.Namespace
	}
	view = x.mapping(ctx, assumed)
	mapped := view.mapping.Identity(types.NamespacedName{Namespace: x.namespace, Name: x.serviceAccount})
	if mapped == nil {
		return "", view
	}
	return mapped.RoleARN, view
}

// usesPodIdentity reports whether a pod gets its credentials from EKS Pod Identity.
func usesPodIdentity(pod corev1.Pod) bool {
	return slices.ContainsFunc(containersOf(&pod), func(c corev1.Container) bool {
		_, set := valueOf(&c, envContainerURI)
		return set
	})
}

// evaluateNoRole returns the finding for a ServiceAccount without a role.
func evaluateNoRole(account *corev1.ServiceAccount, key string, typos []lint.Finding) Finding {
	none := newFinding(Broken, "ServiceAccount %s/%s has no annotation %s", account.Namespace, account.Name, key)
	annotate := func(arguments string) Finding {
		return none.withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, arguments)
	}
	for _, typo := range typos {
		if typo.SuggestedKey == key {
			none.Why = typo.Message
			return annotate(shell(key+"="+strings.TrimSpace(account.Annotations[typo.Annotation])) + " " + typo.Annotation + "-")
		}
	}
	if _, empty := account.Annotations[key]; empty {
		none.Summary = fmt.Sprintf("annotation %s of ServiceAccount %s/%s is empty", key, account.Namespace, account.Name)
	}
	none.Why = "set the annotation to the ARN of an IAM role"
	return annotate(key + "=" + exampleRole)
}

func checkAnnotations(_ context.Context, x *checkState) Finding {
	return evaluateAnnotations(x.account, x.settings)
}

// evaluateAnnotations checks the annotations of a ServiceAccount for mistakes.
func evaluateAnnotations(account *corev1.ServiceAccount, s settings) Finding {
	prefix := s.identity.AnnotationPrefix
	mistakes := lint.Account(account.Annotations, lint.Rules{
		Prefix: prefix, Composes: s.identity.Account != nil, STSEndpoint: s.identity.STSEndpoint,
	})
	if len(mistakes) == 0 {
		return newFinding(OK, "ServiceAccount %s/%s has no mistakes in its annotations", account.Namespace, account.Name)
	}
	status := Warning
	endpoint := identity.FromAnnotations(account.Annotations, s.identity).STSEndpoint
	var messages, fixes []string
	for _, mistake := range mistakes {
		if mistake.Invalid {
			status = Broken
		}
		messages = append(messages, mistake.String())
		fixes = append(fixes, annotationFix(mistake, prefix, endpoint))
	}
	return newFinding(status, "ServiceAccount %s/%s has %s in its annotations", account.Namespace, account.Name, plural(len(messages), "mistake")).
		withReason("%s", strings.Join(messages, "; ")).
		withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, strings.Join(fixes, " "))
}

// annotationFix returns the arguments of kubectl annotate that fix a mistake:
//
//   - the key or the value that was probably intended
//   - otherwise a placeholder for the ARN of a role
//   - otherwise the removal of the annotation, which has no effect
func annotationFix(mistake lint.Finding, prefix, stsEndpoint string) string {
	if mistake.SuggestedKey != "" {
		return shell(mistake.SuggestedKey+"="+mistake.Value) + " " + mistake.Annotation + "-"
	}
	name := strings.TrimPrefix(mistake.Annotation, prefix+"/")
	trimmed := strings.Trim(mistake.Value, " \t\r\n\"'")
	if name == identity.RoleARNAnnotation || name == identity.TargetRoleARNAnnotation {
		if identity.IsRole(trimmed, stsEndpoint) {
			return mistake.Annotation + "=" + trimmed
		}
		return mistake.Annotation + "=" + exampleRole
	}
	if name == identity.AudienceAnnotation && mistake.Invalid && trimmed != "" {
		return shell(mistake.Annotation + "=" + trimmed)
	}
	return mistake.Annotation + "-"
}

func (d *Doctor) namespaceNamed(ctx context.Context, name string) (*corev1.Namespace, error) {
	got := d.known.namespaces.get(name, func() readResult[*corev1.Namespace] {
		namespace, err := d.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		return readResult[*corev1.Namespace]{namespace, err}
	})
	return got.value, got.err
}

func checkRolePermitted(ctx context.Context, x *checkState) Finding {
	if x.settings.rolePolicy == rolepolicy.Off {
		if len(x.webhook.pods) == 0 {
			return newFinding(Skipped, "skipped: cannot read the webhook's flags to see whether --role-policy is set; check webhook_dry_run shows whether the role is permitted")
		}
		return newFinding(Skipped, "skipped: --role-policy is off, so the webhook permits every role")
	}
	namespace, err := x.namespaceNamed(ctx, x.namespace)
	if err != nil {
		return readErrorFinding(permission{verb: "get", resource: "namespaces", name: x.namespace}, err)
	}
	return evaluateRolePermitted(x.settings, namespace, slices.DeleteFunc([]string{x.identity.RoleARN, x.identity.TargetRoleARN}, func(role string) bool { return role == "" })...)
}

// evaluateRolePermitted checks whether the role policy of a namespace permits the roles of
// a ServiceAccount: its role, and for role chaining the second role.
func evaluateRolePermitted(s settings, namespace *corev1.Namespace, roles ...string) Finding {
	for _, role := range roles {
		err := rolepolicy.Evaluate(s.rolePolicy, s.identity.AnnotationPrefix, namespace.Name, namespace.Annotations, role)
		if err != nil {
			return withPermitFix(newFinding(Broken, "namespace %s does not permit role %s; the webhook denies its pods", namespace.Name, role).withReason("%v", err),
				s.identity.AnnotationPrefix, namespace, role)
		}
	}
	return newFinding(OK, "namespace %s permits role %s", namespace.Name, strings.Join(roles, " and "))
}

// withPermitFix adds the command that makes the namespace permit one more role. There is
// no command if the namespace uses an annotation of kiam or kube2iam. The webhook ignores
// it once its own annotation is set, so the namespace would lose its other roles.
func withPermitFix(denied Finding, prefix string, namespace *corev1.Namespace, role string) Finding {
	keys := rolepolicy.Annotations(prefix)
	own, permitted := namespace.Annotations[keys[0]], role
	for _, other := range keys[1:] {
		if _, set := namespace.Annotations[other]; set && own == "" {
			denied.Why += fmt.Sprintf("; add the role to annotation %s, or list all roles of the namespace in %s, which then takes precedence", other, keys[0])
			return denied
		}
	}
	var list []string
	switch {
	case own == "":
	case json.Unmarshal([]byte(own), &list) == nil:
		encoded, err := json.Marshal(append(list, role))
		if err != nil {
			return denied
		}
		permitted = string(encoded)
	case strings.HasPrefix(strings.TrimSpace(own), "["):
		return denied // the intended list is unknown
	default:
		permitted = own + "," + role
	}
	return denied.withFix(kubectl+" annotate --overwrite namespace %s %s", namespace.Name, shell(keys[0]+"="+permitted))
}

// annotationWrittenAt returns the latest time at which an annotation may have been written
// and its field manager, from managedFields. It is the time of the manager's last change
// of any field, so the annotation may be older.
func annotationWrittenAt(account *corev1.ServiceAccount, key string) (at time.Time, by string, known bool) {
	for _, entry := range account.ManagedFields {
		if entry.FieldsV1 == nil || entry.Time == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue
		}
		if _, owns := fields.Metadata.Annotations["f:"+key]; owns && entry.Time.After(at) {
			at, by, known = entry.Time.Time, entry.Manager, true
		}
	}
	return at, by, known
}

// roleKey returns the key of the role annotation.
func (x *checkState) roleKey() string {
	return x.settings.identity.AnnotationPrefix + "/" + identity.RoleARNAnnotation
}
