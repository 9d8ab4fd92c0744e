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

// exampleRole stands for a role that only the user knows.
const exampleRole = "arn:aws:iam::111122223333:role/NAME"

func checkServiceAccount(ctx context.Context, x *checkState) Finding {
	if x.serviceAccount == "" {
		return newFinding(Broken, "the pod names no ServiceAccount").
			withReason("a static pod can have none, nor a token of its own: run it as a DaemonSet instead")
	}
	if x.account == nil {
		account, err := x.Client.CoreV1().ServiceAccounts(x.namespace).Get(ctx, x.serviceAccount, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return newFinding(Broken, "ServiceAccount %s/%s does not exist", x.namespace, x.serviceAccount).
				withReason("no pod can be created with it").
				withFix(kubectl+" create serviceaccount %s -n %s", x.serviceAccount, x.namespace)
		}
		if err != nil {
			return readErrorFinding(permission{"get", "serviceaccounts", x.namespace, x.serviceAccount}, err)
		}
		x.account = account
	}
	return newFinding(OK, "ServiceAccount %s/%s exists", x.namespace, x.serviceAccount)
}

// mappingInfo is the ConfigMap of roles.
type mappingInfo struct {
	mapping *identity.Mapping
	// skipped are its invalid entries, and undecodable is set if it has no valid ones
	// because its content cannot be decoded.
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
		return newFinding(OK, "it names %s", x.identity.RoleARN).withEvidence("annotation", key)
	}
	x.typos = lint.Misspelled(x.account.Annotations, x.settings.identity.AnnotationPrefix)
	if x.settings.configMap {
		view := x.mapping(ctx, x.settings)
		if mapped := view.mapping.Identity(types.NamespacedName{Namespace: x.namespace, Name: x.serviceAccount}); mapped != nil && mapped.IsSet() {
			x.identity = mapped
			return newFinding(OK, "%s names %s", view.at, mapped.RoleARN)
		}
		if view.err != nil && !apierrors.IsNotFound(view.err) {
			return readErrorFinding(permission{"get", "configmaps", x.settings.namespace, usualName}, view.err)
		}
	}
	if slices.ContainsFunc(x.pods, usesPodIdentity) {
		return newFinding(Skipped, "it names no role, and its pods have that of EKS Pod Identity, which the agent on the node knows")
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
		return newFinding(Unknown, "ServiceAccount %s/%s names no role itself, and %s cannot be decoded", x.namespace, x.serviceAccount, view.at).
			withReason("%v; a webhook with --watch-config-map keeps the last mapping that it decoded, which cannot be seen; %s", view.undecodable, none.Why)
	case mapped != "":
		return newFinding(Unknown, "%s names %s, and it cannot be seen whether the webhook reads that", view.at, mapped).
			withReason("it does with --watch-config-map; %s", none.Why)
	case apierrors.IsForbidden(view.err) && len(x.typos) == 0:
		return newFinding(Unknown, "it names no role itself, and it cannot be seen whether %s does", view.at).
			withReason("the webhook reads that with --watch-config-map; if yours does not, %s", none.Why).withFix("%s", none.Fix)
	default:
		return none
	}
}

// possibleMapping looks for the ConfigMap of roles where it would be, if the flags of
// the webhook are not known.
func (x *checkState) possibleMapping(ctx context.Context) (role string, view mappingInfo) {
	if len(x.webhook.pods) > 0 {
		return "", mappingInfo{}
	}
	perhaps := x.settings
	if reference := x.webhook.reference(); reference != nil {
		perhaps.namespace = reference.Namespace
	}
	view = x.mapping(ctx, perhaps)
	mapped := view.mapping.Identity(types.NamespacedName{Namespace: x.namespace, Name: x.serviceAccount})
	if mapped == nil {
		return "", view
	}
	return mapped.RoleARN, view
}

// usesPodIdentity says whether a pod is led to the agent of EKS Pod Identity.
func usesPodIdentity(pod corev1.Pod) bool {
	return slices.ContainsFunc(containersOf(&pod), func(c corev1.Container) bool {
		_, set := valueOf(&c, envContainerURI)
		return set
	})
}

// evaluateNoRole says why a ServiceAccount has none.
func evaluateNoRole(account *corev1.ServiceAccount, key string, typos []lint.Finding) Finding {
	none := newFinding(Broken, "it names no role")
	annotate := func(arguments string) Finding {
		return none.withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, arguments)
	}
	for _, typo := range typos {
		if typo.SuggestedKey == key {
			none.Why = typo.Message
			return annotate(shell(key+"="+strings.TrimSpace(account.Annotations[typo.Annotation])) + " " + typo.Annotation + "-")
		}
	}
	none.Why = "it has no annotation " + key
	if _, empty := account.Annotations[key]; empty {
		none.Why = "its annotation " + key + " is empty"
	}
	return annotate(key + "=" + exampleRole)
}

func checkAnnotations(_ context.Context, x *checkState) Finding {
	return evaluateAnnotations(x.account, x.settings)
}

// evaluateAnnotations says whether they can be what was meant.
func evaluateAnnotations(account *corev1.ServiceAccount, s settings) Finding {
	prefix := s.identity.AnnotationPrefix
	mistakes := lint.Account(account.Annotations, lint.Rules{
		Prefix: prefix, Composes: s.identity.Account != nil, STSEndpoint: s.identity.STSEndpoint,
	})
	if len(mistakes) == 0 {
		return newFinding(OK, "its annotations say what they can")
	}
	status := Warning
	endpoint := identity.FromAnnotations(account.Annotations, s.identity).STSEndpoint
	var said, fixes []string
	for _, mistake := range mistakes {
		if mistake.Invalid {
			status = Broken
		}
		said = append(said, mistake.String())
		fixes = append(fixes, annotationFix(mistake, prefix, endpoint))
	}
	return newFinding(status, "%s", plural(len(said), "mistake")+" in its annotations").withReason("%s", strings.Join(said, "; ")).
		withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, strings.Join(fixes, " "))
}

// annotationFix is what kubectl annotate is to be told: what was meant, if that is
// plain, the place of a role that only its writer knows, or to remove what is void.
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
		return newFinding(Skipped, "the webhook permits every role: --role-policy is off")
	}
	namespace, err := x.namespaceNamed(ctx, x.namespace)
	if err != nil {
		return readErrorFinding(permission{verb: "get", resource: "namespaces", name: x.namespace}, err)
	}
	return evaluateRolePermitted(x.settings, namespace, slices.DeleteFunc([]string{x.identity.RoleARN, x.identity.TargetRoleARN}, func(role string) bool { return role == "" })...)
}

// evaluateRolePermitted says whether the policy of a namespace permits the roles of a
// ServiceAccount: that which it names, and that which is assumed with it.
func evaluateRolePermitted(s settings, namespace *corev1.Namespace, roles ...string) Finding {
	for _, role := range roles {
		err := rolepolicy.Evaluate(s.rolePolicy, s.identity.AnnotationPrefix, namespace.Name, namespace.Annotations, role)
		if err != nil {
			return withPermitFix(newFinding(Broken, "namespace %s does not permit the role, so the webhook refuses its pods", namespace.Name).withReason("%v", err),
				s.identity.AnnotationPrefix, namespace, role)
		}
	}
	return newFinding(OK, "namespace %s permits the role", namespace.Name)
}

// withPermitFix says how a namespace permits one role more than it does. The
// annotations of kiam and kube2iam are for who wrote them: ours would take from the
// namespace what they permit.
func withPermitFix(denied Finding, prefix string, namespace *corev1.Namespace, role string) Finding {
	keys := rolepolicy.Annotations(prefix)
	own, permitted := namespace.Annotations[keys[0]], role
	for _, other := range keys[1:] {
		if _, set := namespace.Annotations[other]; set && own == "" {
			denied.Why += fmt.Sprintf("; permit it in annotation %s, or write all roles of the namespace to %s, which counts alone once it is there", other, keys[0])
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
		return denied // nobody knows what it was meant to permit
	default:
		permitted = own + "," + role
	}
	return denied.withFix(kubectl+" annotate --overwrite namespace %s %s", namespace.Name, shell(keys[0]+"="+permitted))
}

// annotationWrittenAt says when an annotation of a ServiceAccount was last written, at the
// latest, and by whom, as the API server has recorded. That is the time at which
// its writer last changed anything of the object; the annotation may be older.
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

// roleKey is the annotation of the role.
func (x *checkState) roleKey() string {
	return x.settings.identity.AnnotationPrefix + "/" + identity.RoleARNAnnotation
}
