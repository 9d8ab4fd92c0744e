package doctor

import (
	"context"
	"encoding/json"
	"errors"
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

func checkServiceAccount(ctx context.Context, x *examination) Finding {
	if x.account == nil {
		account, err := x.Client.CoreV1().ServiceAccounts(x.namespace).Get(ctx, x.serviceAccount, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return found(Broken, "ServiceAccount %s/%s does not exist", x.namespace, x.serviceAccount).
				because("no pod can be created with it").
				mendedBy("kubectl create serviceaccount %s -n %s", x.serviceAccount, x.namespace)
		}
		if err != nil {
			return unreadable(right{"get", "serviceaccounts", x.namespace, x.serviceAccount}, err)
		}
		x.account = account
	}
	return found(OK, "ServiceAccount %s/%s exists", x.namespace, x.serviceAccount)
}

// mappingView is the ConfigMap of roles.
type mappingView struct {
	mapping *identity.Mapping
	at      string
	err     error
}

func (d *Doctor) mapping(ctx context.Context, s settings) mappingView {
	return d.known.mapping.get(struct{}{}, func() mappingView {
		v := mappingView{at: "ConfigMap " + s.namespace + "/" + usualName}
		found, err := d.Client.CoreV1().ConfigMaps(s.namespace).Get(ctx, usualName, metav1.GetOptions{})
		if err != nil {
			v.err = err
			return v
		}
		// Its good entries count, whatever is wrong with others.
		v.mapping, _ = identity.ParseMapping([]byte(found.Data[configmap.Key]), s.identity)
		return v
	})
}

func checkRole(ctx context.Context, x *examination) Finding {
	x.identity = identity.FromAnnotations(x.account.Annotations, x.settings.identity)
	key := x.settings.identity.AnnotationPrefix + "/" + identity.RoleARNAnnotation
	if x.identity.Granted() {
		return found(OK, "it names %s", x.identity.RoleARN).given("annotation", key)
	}
	x.typos = lint.Misspelt(x.account.Annotations, x.settings.identity.AnnotationPrefix)
	if x.settings.configMap {
		view := x.mapping(ctx, x.settings)
		if mapped := view.mapping.Identity(types.NamespacedName{Namespace: x.namespace, Name: x.serviceAccount}); mapped != nil && mapped.Granted() {
			x.identity = mapped
			return found(OK, "%s names %s", view.at, mapped.RoleARN)
		}
		if view.err != nil && !apierrors.IsNotFound(view.err) {
			return unreadable(right{"get", "configmaps", x.settings.namespace, usualName}, view.err)
		}
	}
	return judgeNoRole(x.account, key, x.typos)
}

// judgeNoRole says why a ServiceAccount has none.
func judgeNoRole(account *corev1.ServiceAccount, key string, typos []lint.Finding) Finding {
	none := found(Broken, "it names no role")
	annotate := func(arguments string) Finding {
		return none.mendedBy("kubectl annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, arguments)
	}
	for _, typo := range typos {
		if typo.Meant == key {
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

func checkAnnotations(_ context.Context, x *examination) Finding {
	return judgeAnnotations(x.account, x.settings)
}

// judgeAnnotations says whether they can be what was meant.
func judgeAnnotations(account *corev1.ServiceAccount, s settings) Finding {
	prefix := s.identity.AnnotationPrefix
	mistakes := lint.Account(account.Annotations, prefix, s.identity.Account != nil)
	if len(mistakes) == 0 {
		return found(OK, "its annotations say what they can")
	}
	status := Warning
	var said, fixes []string
	for _, mistake := range mistakes {
		if mistake.Hard {
			status = Broken
		}
		said = append(said, mistake.String())
		fixes = append(fixes, mendAnnotation(mistake, prefix))
	}
	return found(status, "%s", plural(len(said), "mistake")+" in its annotations").because("%s", strings.Join(said, "; ")).
		mendedBy("kubectl annotate --overwrite serviceaccount %s -n %s %s", account.Name, account.Namespace, strings.Join(fixes, " "))
}

// mendAnnotation is what kubectl annotate is to be told: what was meant, if that is
// plain, the place of a role that only its writer knows, or to remove what is void.
func mendAnnotation(mistake lint.Finding, prefix string) string {
	if mistake.Meant != "" {
		return shell(mistake.Meant+"="+mistake.Value) + " " + mistake.Annotation + "-"
	}
	name := strings.TrimPrefix(mistake.Annotation, prefix+"/")
	trimmed := strings.Trim(mistake.Value, " \t\r\n\"'")
	if name == identity.RoleARNAnnotation || name == identity.TargetRoleARNAnnotation {
		if identity.IsRoleARN(trimmed) {
			return mistake.Annotation + "=" + trimmed
		}
		return mistake.Annotation + "=" + exampleRole
	}
	if name == identity.AudienceAnnotation && mistake.Hard && trimmed != "" {
		return shell(mistake.Annotation + "=" + trimmed)
	}
	return mistake.Annotation + "-"
}

func (d *Doctor) namespaceNamed(ctx context.Context, name string) (*corev1.Namespace, error) {
	got := d.known.namespaces.get(name, func() read[*corev1.Namespace] {
		namespace, err := d.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		return read[*corev1.Namespace]{namespace, err}
	})
	return got.value, got.err
}

func checkRolePermitted(ctx context.Context, x *examination) Finding {
	if x.settings.rolePolicy == rolepolicy.Off {
		return found(Skipped, "the webhook permits every role: --role-policy is off")
	}
	namespace, err := x.namespaceNamed(ctx, x.namespace)
	if err != nil {
		return unreadable(right{verb: "get", resource: "namespaces", name: x.namespace}, err)
	}
	return judgeRolePermitted(x.settings, namespace, x.identity.RoleARN)
}

// judgeRolePermitted says whether the policy of a namespace permits a role.
func judgeRolePermitted(s settings, namespace *corev1.Namespace, role string) Finding {
	prefix := s.identity.AnnotationPrefix
	err := rolepolicy.Evaluate(s.rolePolicy, prefix, namespace.Name, namespace.Annotations, role)
	if err == nil {
		return found(OK, "namespace %s permits the role", namespace.Name)
	}
	key := rolepolicy.Annotations(prefix)[0]
	permitted := role
	if old := namespace.Annotations[key]; old != "" && !strings.HasPrefix(strings.TrimSpace(old), "[") {
		permitted = old + "," + role
	}
	denied := found(Broken, "namespace %s does not permit the role, so the webhook refuses its pods", namespace.Name)
	if typed, ok := errors.AsType[*rolepolicy.DeniedError](err); ok {
		denied.Why = typed.Error()
	}
	return denied.mendedBy("kubectl annotate --overwrite namespace %s %s", namespace.Name, shell(key+"="+permitted))
}

// annotated says when an annotation of a ServiceAccount was last written, at the
// latest, and by whom, as the API server has recorded. That is the time at which
// its writer last changed anything of the object; the annotation may be older.
func annotated(account *corev1.ServiceAccount, key string) (at time.Time, by string, known bool) {
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
func (x *examination) roleKey() string {
	return x.settings.identity.AnnotationPrefix + "/" + identity.RoleARNAnnotation
}
