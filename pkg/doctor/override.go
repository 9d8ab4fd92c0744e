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

// override is a variable that some container has, and where it comes from. Its
// value is nobody's business.
type override struct {
	container, variable, source string
	// remove takes it out of the container's own list, if it is there.
	remove bool
	// effect is what SDKs do with it, and what to do about it.
	effect string
}

// environment reads what containers get through envFrom: the keys, and not the
// values. A key that is not there yet is of no effect.
type environment struct {
	keys   func(kind, name string) ([]string, error)
	unread []permission
	// identity is that of the pod, nil if it is not known.
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

// overrides returns the variables that keep SDKs from the identity, by the webhook's own
// list. Access keys count even if they are not whole: the image can have the rest.
func (e *environment) overrides(pod *corev1.Pod) []override {
	var all []override
	id := cmp.Or(e.identity, &identity.Identity{})
	containers := containersOf(pod)
	for i := range containers {
		known, elsewhere := e.variables(pod.Namespace, &containers[i])
		found := inject.Overrides(known, id)
		for n, variable := range known.Variables {
			// Of several of one name the last counts: an empty one of env overrides envFrom.
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

// isOwnConfig reports whether a variable names the configuration file of a chain of roles
// that the webhook has written.
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

// variables returns the variables of a container, and for those of envFrom where they
// come from. Its own list counts before envFrom, and of that the last source.
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

// setEnvironment changes a variable of a workload's template, or makes a pod anew
// that nothing else makes.
func setEnvironment(pod *corev1.Pod, container, change string) string {
	if w := workloadOf(pod); w.kind != "" {
		return fmt.Sprintf(kubectl+" set env %s/%s -n %s -c %s %s", w.kind, w.name, pod.Namespace, container, shell(change))
	}
	return fmt.Sprintf(kubectl+" get pod %s -n %s -o yaml | "+kubectl+" set env -f - --local -c %s %s -o yaml | "+kubectl+" replace --force -f -",
		pod.Name, pod.Namespace, container, shell(change))
}

// evaluateOverrides says whether anything stands against the role.
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
		said := make([]string, 0, len(all))
		for _, o := range slices.Concat(keys[1:], others) {
			said = append(said, o.String())
		}
		return newFinding(Broken, "%s is used in place of the role", keys[0]).
			withReason("%s", strings.Join(append(said, "AWS SDKs use access keys from the environment before they use a role"), "; ")).
			withFix("%s", removeOverride(pod, keys[0]))
	case len(unread) > 0:
		finding := newFinding(Unknown, "not allowed to %s, which the environment comes from", unread[0]).
			withReason("its keys, and not its values, would be looked at for %s and the like; whoever may grant it needs this rule: %s", "AWS_ACCESS_KEY_ID", unread[0].rule())
		for _, r := range unread {
			finding = finding.withEvidence("missing right", r.String())
		}
		return finding
	case len(others) > 0:
		said := make([]string, 0, len(others)+1)
		for _, o := range others[1:] {
			said = append(said, o.String())
		}
		finding := newFinding(Warning, "%s may be used in place of the role", others[0])
		why := "some SDKs look there before they look for a role, and fail if the profile is not there"
		if !inject.IsProfileVariable(others[0].variable) {
			finding = newFinding(Warning, "%s keeps SDKs from the role", others[0])
			why = others[0].effect
		}
		return finding.withReason("%s", strings.Join(append(said, why), "; ")).withFix("%s", removeOverride(pod, others[0]))
	default:
		return newFinding(OK, "no variable stands against the role")
	}
}

// String says which variable of which container it is, and where that comes from.
func (o override) String() string {
	return fmt.Sprintf("%s in container %s (%s)", o.variable, o.container, o.source)
}

// removeOverride takes a variable out of a container's own list. One of envFrom is
// made empty there, which goes before envFrom and counts for nothing: what the Secret
// or the ConfigMap holds is not for us to delete. An empty profile is an error to some
// SDKs, so there is no command for one of envFrom; nor for a variable that the
// application may need for something else, such as the endpoint of its store.
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
