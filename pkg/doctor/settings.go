package doctor

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	webhooksettings "github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
)

// settings are the flags of the webhook that affect pods.
type settings struct {
	identity identity.Defaults
	inject   inject.Settings
	// configMap is true if the webhook also reads roles from the ConfigMap, and
	// namespace is the namespace of that ConfigMap.
	configMap  bool
	namespace  string
	rolePolicy rolepolicy.Mode
}

// readSettings parses the flags of this webhook or of amazon-eks-pod-identity-webhook.
// Missing flags have their defaults. It ignores flags that it cannot parse, because a
// running webhook has accepted them.
func readSettings(args []string) settings {
	var s settings
	var given webhooksettings.Settings
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.SetOutput(io.Discard)
	given.AddFlags(flags)
	flags.BoolVar(&s.configMap, "watch-config-map", false, "")
	flags.StringVar(&s.namespace, "namespace", "eks", "")
	for i, arg := range args {
		if name, long := strings.CutPrefix(arg, "--"); long && i+1 < len(args) {
			if flag := flags.Lookup(name); flag != nil && flag.NoOptDefVal == "" {
				arg += "=" + args[i+1]
			}
		}
		// One flag at a time, because Parse stops at the first error.
		_ = flags.Parse([]string{arg})
	}
	s.identity, s.inject = given.Defaults(given.Account()), given.Inject()
	s.rolePolicy = rolepolicy.Mode(given.RolePolicy)
	return s
}

// argumentsOf returns the arguments of the webhook's container in the newest pod, or nil
// if there are no pods.
func argumentsOf(pods []corev1.Pod) []string {
	if len(pods) == 0 {
		return nil
	}
	newest := slices.MaxFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	containers := newest.Spec.Containers
	at := max(slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == usualName }), 0)
	if len(containers) == 0 {
		return nil
	}
	return slices.Concat(containers[at].Command, containers[at].Args)
}

// overridden returns the settings with the options of the user, which take precedence.
func (s settings) overridden(options Options) settings {
	s.identity.Audience = cmp.Or(options.Audience, s.identity.Audience)
	s.identity.AnnotationPrefix = cmp.Or(options.AnnotationPrefix, s.identity.AnnotationPrefix)
	s.inject.AnnotationPrefix = s.identity.AnnotationPrefix
	return s
}
