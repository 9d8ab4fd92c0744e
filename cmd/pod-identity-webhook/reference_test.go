package main

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

var update = flag.Bool("update", false, "write the pages of docs/reference instead of comparing with them")

// annotations are those that the webhook reads.
var annotations = []struct{ on, key, value string }{
	{"ServiceAccount", identity.RoleARNAnnotation, "IAM role of its pods; without it, the webhook skips them"},
	{"ServiceAccount", identity.AudienceAnnotation, "audience of the token; if empty, the default"},
	{"ServiceAccount", identity.STSRegionalEndpointsAnnotation, "`true` or `false`: whether SDKs use the STS endpoint of their region"},
	{"ServiceAccount, pod", identity.TokenExpirationAnnotation, "lifetime of the token in seconds, at least 600; the pod takes precedence"},
	{"ServiceAccount, pod", identity.RoleSessionNameAnnotation, "name of the role session: `pod-name` for the name of the pod, or a literal; the pod takes precedence"},
	{"ServiceAccount", identity.STSEndpointAnnotation, "URL of the STS, for VPC endpoints and for [stores with their own STS](../role-sources.md); with the latter, `role-arn` can be a role of another system"},
	{"ServiceAccount", identity.TargetRoleARNAnnotation, "role to assume with the credentials of `role-arn`, see [role chaining](../role-chaining.md)"},
	{"ServiceAccount", identity.TargetExternalIDAnnotation, "external ID for the target role"},
	{"pod", identity.SkipContainersAnnotation, "comma-separated names of containers and init containers to skip"},
	{"pod", identity.IncludeContainersAnnotation, "comma-separated names of containers and init containers; all others are skipped"},
	{"Namespace", rolepolicy.PermittedRolesAnnotation, "roles that its pods may have, see [role policy](../role-policy.md)"},
	{"Namespace", rolepolicy.KiamAnnotation, "the same, for users of kiam"},
	{"Namespace", rolepolicy.Kube2IAMAnnotation, "the same, for users of kube2iam"},
	{"pod (label)", inject.SkipPodLabel, "with any value, the webhook skips the pod"},
}

func annotationTable() string {
	var table strings.Builder
	table.WriteString(docgen.TableHead("on", "key", "value"))
	for _, a := range annotations {
		table.WriteString(docgen.Row(a.on, "`"+a.key+"`", a.value))
	}
	return table.String()
}

func flagTable() string {
	var table strings.Builder
	table.WriteString(docgen.FlagTableHead())
	newFlagSet(new(config)).VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Hidden:
		case f.Name == "v":
			// klog's level belongs to the process: another test may have set it.
			_, usage := pflag.UnquoteUsage(f)
			table.WriteString(docgen.Row("`-v`", usage))
		default:
			table.WriteString(docgen.FlagRow(f))
		}
	})
	return table.String()
}

func ignoredFlagTable() string {
	var table strings.Builder
	table.WriteString(docgen.TableHead("flag", "why it has no effect"))
	for _, name := range slices.Sorted(maps.Keys(ignoredFlags)) {
		table.WriteString(docgen.Row("`--"+name+"`", docgen.Code(ignoredFlags[name])))
	}
	return table.String()
}

func TestReference_flagsAndAnnotations(t *testing.T) {
	docgen.Check(t, "../../docs/reference/flags-and-annotations.md", "# Flags and annotations of the webhook\n\n"+
		"This page is for operators of the webhook, and for users who annotate ServiceAccounts and pods. "+docgen.Note+
		"\n## Flags\n\n"+flagTable()+
		"\nThe webhook accepts these flags of amazon-eks-pod-identity-webhook, and logs once that they have no effect:\n\n"+ignoredFlagTable()+
		"\nIt accepts klog's other flags too, such as `--logtostderr`. It always writes its log to standard error, as lines of JSON.\n"+
		"\n## Annotations and labels\n\nA key without a slash has the prefix of `--annotation-prefix`, by default `eks.amazonaws.com/`.\n\n"+annotationTable(), *update)
}
