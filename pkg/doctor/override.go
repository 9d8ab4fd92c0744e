package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keyVariables are credentials, which every SDK prefers to a role
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
var keyVariables = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}

// profileVariables lead some SDKs to a profile, and all to fail if it is not there.
var profileVariables = []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", envConfigFile}

// override is a variable that some container has, and where it comes from. Its
// value is nobody's business.
type override struct {
	container, variable, source string
	// remove takes it out of the container's own list, if it is there.
	remove bool
}

// environment reads what containers get through envFrom: the keys, and not the
// values. A key that is not there yet is of no effect.
type environment struct {
	keys   func(kind, name string) ([]string, error)
	unread []right
}

func checkOverrides(ctx context.Context, x *examination) Finding {
	e := &environment{keys: func(kind, name string) ([]string, error) { return x.keysOf(ctx, kind, name) }}
	return judgeOverrides(x.pod, e.overrides(x.pod), e.unread)
}

// keysOf returns the keys of a ConfigMap or a Secret.
func (x *examination) keysOf(ctx context.Context, kind, name string) ([]string, error) {
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

func (e *environment) overrides(pod *corev1.Pod) []override {
	var all []override
	containers := containersOf(pod)
	for i := range containers {
		c := &containers[i]
		for _, variable := range c.Env {
			// One that is empty counts for nothing, if that can be seen.
			if rival(variable.Name, variable.Value) && (variable.Value != "" || variable.ValueFrom != nil) {
				all = append(all, override{container: c.Name, variable: variable.Name, source: "env" + from(variable.ValueFrom), remove: true})
			}
		}
		all = append(all, e.fromElsewhere(pod.Namespace, c)...)
	}
	return all
}

// rival says whether a variable stands against the role. Our own configuration
// file, for a chain of roles, does not.
func rival(name, value string) bool {
	if name == envConfigFile && strings.Contains(value, "/serviceaccount/") {
		return false
	}
	return slices.Contains(keyVariables, name) || slices.Contains(profileVariables, name)
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

func (e *environment) fromElsewhere(namespace string, c *corev1.Container) []override {
	var all []override
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
				e.unread = append(e.unread, right{"get", strings.ToLower(kind) + "s", namespace, name})
			}
			continue
		}
		for _, key := range keys {
			variable := source.Prefix + key
			if _, set := valueOf(c, variable); !set && rival(variable, "") {
				all = append(all, override{container: c.Name, variable: variable, source: fmt.Sprintf("envFrom %s %s", kind, name)})
			}
		}
	}
	return all
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

// judgeOverrides says whether anything stands against the role.
func judgeOverrides(pod *corev1.Pod, all []override, unread []right) Finding {
	var keys, profiles []string
	var first *override
	for i, o := range all {
		said := fmt.Sprintf("%s in container %s (%s)", o.variable, o.container, o.source)
		if slices.Contains(keyVariables, o.variable) {
			keys = append(keys, said)
			if first == nil || !slices.Contains(keyVariables, first.variable) {
				first = &all[i]
			}
		} else {
			profiles = append(profiles, said)
			if first == nil {
				first = &all[i]
			}
		}
	}
	switch {
	case len(keys) > 0:
		return found(Broken, "%s is used in place of the role", keys[0]).
			because("%s", strings.Join(append(slices.Concat(keys[1:], profiles), "an SDK looks for keys in the environment before it looks for a role"), "; ")).
			mendedBy("%s", removeOverride(pod, *first))
	case len(unread) > 0:
		finding := found(Unknown, "not allowed to %s, which the environment comes from", unread[0]).
			because("its keys, and not its values, would be looked at for %s and the like; whoever may grant it needs this rule: %s", keyVariables[0], unread[0].rule())
		for _, r := range unread {
			finding = finding.given("missing right", r.String())
		}
		return finding
	case len(profiles) > 0:
		return found(Warning, "%s may be used in place of the role", profiles[0]).
			because("%s", strings.Join(append(profiles[1:], "some SDKs look there before they look for a role, and fail if the profile is not there"), "; ")).
			mendedBy("%s", removeOverride(pod, *first))
	default:
		return found(OK, "no variable stands against the role")
	}
}

// removeOverride takes a variable out of a container's own list. One of envFrom is
// made empty there, which goes before envFrom and counts for nothing: what the Secret
// or the ConfigMap holds is not for us to delete.
func removeOverride(pod *corev1.Pod, o override) string {
	if o.remove {
		return setEnvironment(pod, o.container, o.variable+"-")
	}
	return setEnvironment(pod, o.container, o.variable+"=")
}
