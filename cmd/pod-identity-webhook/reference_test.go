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

var update = flag.Bool("update", false, "write docs/reference.md")

// annotations are the annotations and labels in docs/reference.md.
var annotations = []struct {
	on, key, value string
	// literal reports whether the key does not have the prefix of --annotation-prefix.
	literal bool
}{
	{"ServiceAccount", identity.RoleARNAnnotation, "IAM role. Pods of a ServiceAccount without a role are skipped.", false},
	{"ServiceAccount", identity.AudienceAnnotation, "Audience of the token; an empty value means the default.", false},
	{"ServiceAccount", identity.STSRegionalEndpointsAnnotation, "`true` or `false`: whether SDKs use the STS endpoint of their region.", false},
	{"ServiceAccount, pod", identity.TokenExpirationAnnotation, "Lifetime of the token in seconds, at least 600. The annotation of the pod takes precedence.", false},
	{"ServiceAccount, pod", identity.RoleSessionNameAnnotation, "Name of the role session: `pod-name`, so that CloudTrail records the name of the pod, or a literal. The annotation of the pod takes precedence.", false},
	{"ServiceAccount", identity.STSEndpointAnnotation, "URL of the STS to use, for VPC endpoints and for stores that have their own STS. If it is not an STS of AWS, `role-arn` can be a role of another system, such as `arn:aws:iam:::role/NAME` of Ceph.", false},
	{"ServiceAccount", identity.TargetRoleARNAnnotation, "Role to assume with the credentials of `role-arn`, see [role chaining](docs/role-chaining.md).", false},
	{"ServiceAccount", identity.TargetExternalIDAnnotation, "External ID for the target role.", false},
	{"pod", identity.SkipContainersAnnotation, "Comma-separated names of containers and init containers to skip.", false},
	{"pod", identity.IncludeContainersAnnotation, "Comma-separated names of the containers and init containers to inject. All others are skipped.", false},
	{"namespace", rolepolicy.PermittedRolesAnnotation, "Roles that pods of the namespace may use, see [role policy](docs/role-policy.md).", false},
	{"namespace", rolepolicy.KiamAnnotation, "The same, as in kiam.", true},
	{"namespace", rolepolicy.Kube2IAMAnnotation, "The same, as in kube2iam.", true},
	{"pod (label)", inject.SkipPodLabel, "With any value, the pod is skipped.", true},
}

func annotationTable() string {
	var table strings.Builder
	table.WriteString("The keys have the prefix of `--annotation-prefix`, by default `eks.amazonaws.com/`, unless the table has a full key:\n\n| on | key | value |\n|---|---|---|\n")
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
			// The level of klog is global: another test may have set it.
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
	table.WriteString("| flag | reason |\n|---|---|\n")
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

// reference returns the page docs/reference.md.
func reference() string {
	page := "# Reference\n\nWritten by `make docs`.\n\n## Flags\n\n" + flagTable() +
		"\nThe webhook accepts these flags for compatibility with amazon-eks-pod-identity-webhook. They have no effect, which it logs once:\n\n" + withoutEffectTable() +
		"\nThe webhook also accepts the other flags of klog, such as `--logtostderr`, without effect. The log is always lines of JSON on standard error.\n" +
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
