package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

var update = flag.Bool("update", false, "write the reference anew")

// annotations is the reference of what can be written on objects.
var annotations = []struct {
	on, key, value string
	// literal says that the key does not follow --annotation-prefix.
	literal bool
}{
	{"ServiceAccount", identity.RoleARNAnnotation, "the IAM role; without one, pods are left alone", false},
	{"ServiceAccount", identity.AudienceAnnotation, "audience of the token; an empty one is the default", false},
	{"ServiceAccount", identity.STSRegionalEndpointsAnnotation, "`true` or `false`: use the STS endpoint of the SDK's region", false},
	{"ServiceAccount, pod", identity.TokenExpirationAnnotation, "lifetime of the token in seconds, at least 600; the pod's beats the ServiceAccount's", false},
	{"ServiceAccount, pod", identity.RoleSessionNameAnnotation, "name of the role session: `pod-name`, so that CloudTrail names the pod, or a literal; the pod's beats the ServiceAccount's", false},
	{"ServiceAccount", identity.STSEndpointAnnotation, "URL of the STS to use, for VPC endpoints and for stores that have their own; if it is not AWS's, `role-arn` can be the role of another system, such as `arn:aws:iam:::role/NAME` of Ceph", false},
	{"ServiceAccount", identity.TargetRoleARNAnnotation, "a role to assume with the credentials of `role-arn`, see [role chaining](docs/role-chaining.md)", false},
	{"ServiceAccount", identity.TargetExternalIDAnnotation, "external id for the target role", false},
	{"pod", identity.SkipContainersAnnotation, "comma-separated names of containers and init containers to leave alone", false},
	{"pod", identity.IncludeContainersAnnotation, "comma-separated names of the only ones not to leave alone", false},
	{"namespace", rolepolicy.PermittedRolesAnnotation, "roles that its pods may have, see [who may use which role](docs/role-policy.md)", false},
	{"namespace", rolepolicy.KiamAnnotation, "the same, as kiam has it", true},
	{"namespace", rolepolicy.Kube2IAMAnnotation, "the same, as kube2iam has it", true},
	{"pod (label)", inject.SkipPodLabel, "with any value: the pod is left alone", true},
}

func annotationTable() string {
	var table strings.Builder
	table.WriteString("With the prefix of `--annotation-prefix`, `eks.amazonaws.com/` by default, unless a whole key is given:\n\n| on | key | value |\n|---|---|---|\n")
	for _, a := range annotations {
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", a.on, a.key, a.value)
	}
	return table.String()
}

func flagTable() string {
	var table strings.Builder
	table.WriteString("| flag | default | |\n|---|---|---|\n")
	newFlagSet(new(config)).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, value := "--"+f.Name, f.DefValue
		if f.Name == "v" {
			// klog's level is the process's own: another test may have set it.
			name, value = "-v", "0"
		}
		if value != "" && value != "[]" && f.Name != "version" {
			value = "`" + value + "`"
		} else {
			value = ""
		}
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", name, value, usage)
	})
	return strings.ReplaceAll(table.String(), "|  |", "| |")
}

func withoutEffectTable() string {
	var table strings.Builder
	table.WriteString("| flag | why it has no effect |\n|---|---|\n")
	var names []string
	for name := range ignoredFlags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&table, "| `--%s` | %s |\n", name, ignoredFlags[name])
	}
	return table.String()
}

// reference is the page docs/reference.md.
func reference() string {
	page := "# Reference\n\nWritten by `make docs`.\n\n## Flags\n\n" + flagTable() +
		"\nThese are accepted, since the reference webhook has them, and say once in the log that they have no effect:\n\n" + withoutEffectTable() +
		"\nklog's other flags, such as `--logtostderr`, are accepted too: logs are lines of JSON on the standard error.\n" +
		"\n## Annotations and labels\n\n" + annotationTable()
	return strings.ReplaceAll(page, "](docs/", "](")
}

// TestReferenceDocs_upToDate compares docs/reference.md with the flags and
// annotations, or writes it with -update.
func TestReferenceDocs_upToDate(t *testing.T) {
	const path = "../../docs/reference.md"
	want := reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: run `make docs`", path)
	}
}
