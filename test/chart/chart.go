// Package chart renders the Helm chart the way an operator would, and holds it
// to what it promises.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// Release is the name that the chart is rendered under.
const Release = "pod-identity-webhook"

// ClusterName is the name of its objects that are in no namespace.
const ClusterName = "irsa-" + Release

// kubeVersion is the oldest version of Kubernetes that the chart is for. What
// helm template knows of a cluster follows from it, and not from helm's own age.
const kubeVersion = "1.30.0"

// Render returns the YAML of the chart for a namespace. Each of values is one
// for helm's --set, such as "mode=opt-in". The helm that runs is $HELM, or the
// repository's own.
func Render(ctx context.Context, namespace string, values ...string) ([]byte, error) {
	var args []string
	for _, value := range values {
		args = append(args, "--set", value)
	}
	return Template(ctx, namespace, args...)
}

// Template is Render for more of what helm template can be told, such as
// --values=FILE. Its error has what helm says.
func Template(ctx context.Context, namespace string, args ...string) ([]byte, error) {
	return TemplateOf(ctx, Release, namespace, args...)
}

// TemplateOf is Template for a release of another name.
func TemplateOf(ctx context.Context, release, namespace string, args ...string) ([]byte, error) {
	return TemplateChart(ctx, Path(), release, namespace, args...)
}

// TemplateChart is TemplateOf for the chart in a directory.
func TemplateChart(ctx context.Context, path, release, namespace string, args ...string) ([]byte, error) {
	args = append([]string{"template", release, path, "--namespace=" + namespace, "--kube-version=" + kubeVersion}, args...)
	return helm(ctx, args...)
}

// Notes returns what helm prints after an installation.
func Notes(ctx context.Context, namespace string, args ...string) ([]byte, error) {
	return helm(ctx, append([]string{"install", Release, Path(), "--namespace=" + namespace, "--dry-run=client", "--output=json"}, args...)...)
}

// Path returns the directory of the chart.
func Path() string { return repopath.Path("deploy", "helm", "pod-identity-webhook") }

func helm(ctx context.Context, args ...string) ([]byte, error) {
	binary := os.Getenv("HELM")
	if binary == "" {
		binary = repopath.Path("bin", "helm")
	}
	command := exec.CommandContext(ctx, binary, args...) //nolint:gosec // the caller says which helm
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("helm %s: %w\n%s", args[0], err, &stderr)
	}
	return stdout.Bytes(), nil
}
