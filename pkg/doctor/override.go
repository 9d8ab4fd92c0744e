package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// override is an environment variable of a container and its source. It never holds the
// value, which may be secret.
type override struct {
	container, variable, source string
	// remove is true if the variable is in the env list of the container.
	remove bool
	// effect is the effect of the variable on SDKs, and the fix.
	effect string
}

// environment reads the keys, but not the values, of the Secrets and ConfigMaps that
// containers use in envFrom. It ignores Secrets and ConfigMaps that do not exist.
type environment struct {
	keys   func(kind, name string) ([]string, error)
	unread []permission
	// identity is the identity of the pod, or nil if it is unknown.
	identity *identity.Identity
}

func checkOverrides(ctx context.Context, x *checkState) Finding {
	e := &environment{identity: x.identity, keys: func(kind, name string) ([]string, error) { return x.keysOf(ctx, kind, name) }}
	return evaluateOverrides(x.pod, e.overrides(x.pod), e.unread)
}

// keysOf returns the keys of a ConfigMap or a Secret.
func (x *checkState) keysOf(ctx context.Context, kind, name string) ([]string, error) {
	if kind == "Secret" {
		secret, err := x.Client.CoreV1().Secrets(x.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return slices.Sorted(maps.Keys(secret.Data)), nil
	}
	configMap, err := x.Client.CoreV1().ConfigMaps(x.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(configMap.Data)), nil
}

// overrides returns the variables that keep SDKs from using the identity, according to
// the webhook's list. It also returns incomplete access keys, because the image can set
// the rest.
func (e *environment) overrides(pod *corev1.Pod) []override {
	var all []override
	id := cmp.Or(e.identity, &identity.Identity{})
	containers := containersOf(pod)
	for i := range containers {
		known, elsewhere := e.variables(pod.Namespace, &containers[i])
		found := inject.Overrides(known, id)
		for n, variable := range known.Variables {
			// The last variable of a name takes effect: an empty one in env overrides envFrom.
			sameName := func(v inject.EnvVar) bool { return v.Name == variable.Name }
			set := (variable.Value != "" || variable.FromElsewhere) && !slices.ContainsFunc(known.Variables[n+1:], sameName)
			if set && inject.IsKeyVariable(variable.Name) && !slices.ContainsFunc(found, func(o inject.Override) bool { return o.Variable == variable.Name }) {
				found = append(found, inject.Override{Variable: variable.Name})
			}
		}
		for _, o := range found {
			one := override{container: containers[i].Name, variable: o.Variable, source: elsewhere[o.Variable], effect: o.Effect + "; " + o.Fix}
			for _, variable := range containers[i].Env {
				if variable.Name == o.Variable {
					one.source, one.remove = "env"+from(variable.ValueFrom), true
				}
			}
			if !isOwnConfig(o.Variable, &containers[i]) {
				all = append(all, one)
			}
		}
	}
	return all
}

// isOwnConfig reports whether a variable is the path of the AWS configuration file that
// the webhook adds for role chaining. With role chaining, the role assumes a second role.
func isOwnConfig(name string, c *corev1.Container) bool {
	value, _ := valueOf(c, name)
	return name == envConfigFile && strings.Contains(value, "/serviceaccount/")
}

func from(source *corev1.EnvVarSource) string {
	switch {
	case source == nil:
		return ""
	case source.SecretKeyRef != nil:
		return ", from Secret " + source.SecretKeyRef.Name
	case source.ConfigMapKeyRef != nil:
		return ", from ConfigMap " + source.ConfigMapKeyRef.Name
	default:
		return ", from the pod"
	}
}

// variables returns the variables of a container, and the sources of those from envFrom.
// The env list takes precedence over envFrom, and a later source over an earlier one.
func (e *environment) variables(namespace string, c *corev1.Container) (known inject.Environment, elsewhere map[string]string) {
	elsewhere = map[string]string{}
	for _, source := range c.EnvFrom {
		kind, name := "", ""
		switch {
		case source.SecretRef != nil:
			kind, name = "Secret", source.SecretRef.Name
		case source.ConfigMapRef != nil:
			kind, name = "ConfigMap", source.ConfigMapRef.Name
		default:
			continue
		}
		keys, err := e.keys(kind, name)
		if err != nil {
			if !apierrors.IsNotFound(err) {
				e.unread = append(e.unread, permission{"get", strings.ToLower(kind) + "s", namespace, name})
				known.Open = true
			}
			continue
		}
		for _, key := range keys {
			variable := source.Prefix + key
			elsewhere[variable] = fmt.Sprintf("envFrom %s %s", kind, name)
			known.Variables = append(known.Variables, inject.EnvVar{Name: variable, FromElsewhere: true})
		}
	}
	for _, variable := range c.Env {
		known.Variables = append(known.Variables, inject.EnvVar{Name: variable.Name, Value: variable.Value, FromElsewhere: variable.ValueFrom != nil})
	}
	return known, elsewhere
}

// setEnvironment returns the command that changes a variable in the template of the
// workload. For a pod without a workload it replaces the pod.
func setEnvironment(pod *corev1.Pod, container, change string) string {
	if w := workloadOf(pod); w.kind != "" {
		return fmt.Sprintf(kubectl+" set env %s/%s -n %s -c %s %s", w.kind, w.name, pod.Namespace, container, shell(change))
	}
	return fmt.Sprintf(kubectl+" get pod %s -n %s -o yaml | "+kubectl+" set env -f - --local -c %s %s -o yaml | "+kubectl+" replace --force -f -",
		pod.Name, pod.Namespace, container, shell(change))
}

// evaluateOverrides checks whether a variable takes precedence over the role.
func evaluateOverrides(pod *corev1.Pod, all []override, unread []permission) Finding {
	var keys, others []override
	for _, o := range all {
		if inject.IsKeyVariable(o.variable) {
			keys = append(keys, o)
		} else {
			others = append(others, o)
		}
	}
	switch {
	case len(keys) > 0:
		reasons := make([]string, 0, len(all))
		for _, o := range slices.Concat(keys[1:], others) {
			reasons = append(reasons, o.String())
		}
		return newFinding(Broken, "%s takes precedence over the role", keys[0]).
			withReason("%s", strings.Join(append(reasons, "AWS SDKs use access keys from the environment before they use a role"), "; ")).
			withFix("%s", removeOverride(pod, keys[0]))
	case len(unread) > 0:
		finding := newFinding(Unknown, "not allowed to %s, a source of environment variables", unread[0]).
			withReason("doctor checks only the keys, and not its values, for variables such as %s; your RBAC permissions need this rule: %s", "AWS_ACCESS_KEY_ID", unread[0].rule())
		for _, r := range unread {
			finding = finding.withEvidence("missing permission", r.String())
		}
		return finding
	case len(others) > 0:
		reasons := make([]string, 0, len(others)+1)
		for _, o := range others[1:] {
			reasons = append(reasons, o.String())
		}
		finding := newFinding(Warning, "%s can take precedence over the role", others[0])
		why := "some SDKs use the profile before they use a role, and fail if the profile does not exist"
		if !inject.IsProfileVariable(others[0].variable) {
			finding = newFinding(Warning, "%s keeps SDKs from using the role", others[0])
			why = others[0].effect
		}
		return finding.withReason("%s", strings.Join(append(reasons, why), "; ")).withFix("%s", removeOverride(pod, others[0]))
	default:
		return newFinding(OK, "no variable of pod %s takes precedence over the role", pod.Name)
	}
}

// String returns the name, the container and the source of the variable.
func (o override) String() string {
	return fmt.Sprintf("%s in container %s (%s)", o.variable, o.container, o.source)
}

// removeOverride returns the command that disables a variable, or "":
//
//   - An access key or a profile in the env list of the container is removed.
//   - An access key from envFrom is set to an empty value in env, which overrides envFrom.
//     The Secret or ConfigMap is not changed, because others may use it.
//   - For a profile from envFrom there is no command, because an empty profile is an error
//     in some SDKs.
//   - For other variables there is no command, because the application may need them: an
//     example is the endpoint of its object store.
func removeOverride(pod *corev1.Pod, o override) string {
	isKey, isProfile := inject.IsKeyVariable(o.variable), inject.IsProfileVariable(o.variable)
	switch {
	case o.remove && (isKey || isProfile):
		return setEnvironment(pod, o.container, o.variable+"-")
	case isKey:
		return setEnvironment(pod, o.container, o.variable+"=")
	default:
		return ""
	}
}
