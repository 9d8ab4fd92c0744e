// Package chart renders the Helm chart for tests with the helm program, as an
// operator does.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// Release is the name of the release.
const Release = "pod-identity-webhook"

// ClusterName is the name of the release's cluster-scoped objects.
const ClusterName = "irsa-" + Release

// kubeVersion is the oldest supported version of Kubernetes. helm template derives the
// cluster's capabilities from it; otherwise it would use the version of helm's own
// libraries.
const kubeVersion = "1.30.0"

// Render returns the chart's YAML for a namespace. Each of values is an argument of
// helm's --set, such as "mode=opt-in". It runs $HELM, or the helm that make builds.
// It returns an error with helm's standard error if helm fails.
func Render(ctx context.Context, namespace string, values ...string) ([]byte, error) {
	var args []string
	for _, value := range values {
		args = append(args, "--set", value)
	}
	return Template(ctx, namespace, args...)
}

// Template is Render with any arguments of helm template, such as --values=FILE.
func Template(ctx context.Context, namespace string, args ...string) ([]byte, error) {
	return TemplateOf(ctx, Release, namespace, args...)
}

// TemplateOf is Template with the name of the release.
func TemplateOf(ctx context.Context, release, namespace string, args ...string) ([]byte, error) {
	return TemplateChart(ctx, Path(), release, namespace, args...)
}

// TemplateChart is TemplateOf with the directory of the chart.
func TemplateChart(ctx context.Context, path, release, namespace string, args ...string) ([]byte, error) {
	args = append([]string{"template", release, path, "--namespace=" + namespace, "--kube-version=" + kubeVersion}, args...)
	return helm(ctx, args...)
}

// Notes returns the text that helm prints after an installation.
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
