// Package walkthrough runs all of IRSA on an existing cluster with nodes. It
// installs the chart and local-sts, a fake AWS, and creates the OIDC provider and
// the role. Then it runs an application that calls GetCallerIdentity.
package walkthrough

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// Names in the chart and the example.
const (
	// Release is the name of the chart's release and of its namespace.
	Release = "pod-identity-webhook"
	// ExampleNamespace is the namespace of examples/cloudwatch-agent.
	ExampleNamespace = "amazon-cloudwatch"
	exampleSelector  = "name=cloudwatch-agent"
)

// Cluster is a running cluster.
type Cluster struct {
	// Images is the output directory of `make image`. Repository and Tag are the
	// name of the webhook's image in it.
	Images, Repository, Tag string
	// Load loads an image archive into the nodes.
	Load func(ctx context.Context, archive string) error
	STS  STS
	// Kubectl, Helm and Plugin are paths of programs. Plugin is kubectl-irsa.
	Kubectl, Helm, Plugin string
	Kubeconfig            string
	Out                   io.Writer
}

// Flags adds the flags for the images and programs. The defaults are the files
// that make builds.
func (c *Cluster) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.Images, "images", repopath.Path("bin", "image"), "output `directory` of make image")
	flags.StringVar(&c.Repository, "repository", "localhost/pod-identity-webhook", "name of the webhook's image")
	flags.StringVar(&c.Tag, "tag", "", "tag of that image")
	flags.StringVar(&c.Plugin, "plugin", repopath.Path("bin", "kubectl-irsa"), "binary `file` of kubectl-irsa")
	flags.StringVar(&c.Helm, "helm", repopath.Path("bin", "helm"), "binary `file` of helm")
}

// step is a step of Up. Up prints the title before it runs do.
type step struct {
	title string
	do    func(context.Context) error
}

// Up runs all steps and prints the pods. You can run it again to update the cluster.
func (c *Cluster) Up(ctx context.Context) error {
	for _, step := range c.steps() {
		fmt.Fprintf(c.Out, "== %s\n", step.title)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	for _, show := range c.reports() {
		if err := show(ctx); err != nil {
			return err
		}
	}
	return nil
}

// steps returns the steps of Up, in order.
func (c *Cluster) steps() []step {
	steps := []step{
		{"image " + c.Repository + ":" + c.Tag, c.load(Release)},
		{"chart " + Release, func(ctx context.Context) error { return c.Install(ctx) }},
		{"issuer documents readable without credentials", c.PublishIssuer},
	}
	if c.STS == LocalSTS {
		steps = append(
			steps,
			step{"image of local-sts", c.load("local-sts")},
			step{"local-sts, a fake AWS", c.ApplySTS},
			step{"OIDC provider and role; ignore the warnings that AWS cannot read the issuer, because local-sts can", c.Provision},
			step{"application " + WhoAmI, c.RunWhoAmI},
		)
	}
	return append(steps, step{"example " + ExampleNamespace, c.ApplyExample})
}

// reports returns the functions that print the result, in order.
func (c *Cluster) reports() []func(context.Context) error {
	if c.STS == LocalSTS {
		return []func(context.Context) error{c.Show, c.ShowWhoAmI}
	}
	return []func(context.Context) error{c.Show}
}

// load returns a function that loads the image of a program of this repository.
func (c *Cluster) load(program string) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.Load(ctx, filepath.Join(c.Images, program, program+".tar"))
	}
}

// Install installs or upgrades the chart and waits until it is ready. The args
// come last on helm's command line, so they override the others.
func (c *Cluster) Install(ctx context.Context, args ...string) error {
	digest, err := os.ReadFile(filepath.Join(c.Images, Release, "digest"))
	if err != nil {
		return fmt.Errorf("read digest of the webhook's image: %w", err)
	}
	return Run(ctx, c.Out, c.Helm, append(c.Installation(strings.TrimSpace(string(digest))), args...)...)
}

// Installation returns helm's arguments. They set the image, its digest as a pod
// annotation, and the STS that pods use. Other values keep their defaults.
func (c *Cluster) Installation(digest string) []string {
	args := []string{
		"--kubeconfig", c.Kubeconfig, "upgrade", "--install", Release, repopath.Path("deploy", "helm", "pod-identity-webhook"),
		"--namespace", Release, "--create-namespace", "--wait", "--timeout", "3m",
		"--set-string", "image.repository=" + c.Repository,
		"--set-string", "image.tag=" + c.Tag,
		// The image is on the nodes and in no registry.
		"--set-string", "image.pullPolicy=Never",
		// A new build of a modified work tree has the same tag. The digest
		// changes, so that the Deployment recreates its pods.
		"--set-string", "podAnnotations.imageDigest=" + digest,
	}
	if c.STS == LocalSTS {
		// SDKs need a region with any endpoint.
		args = append(args, "--set-string", "stsEndpoint="+STSURL, "--set-string", "awsRegion="+Region)
	}
	return args
}

// PublishIssuer allows unauthenticated clients to read the issuer's documents,
// because STS reads them without credentials.
func (c *Cluster) PublishIssuer(ctx context.Context) error {
	return c.Apply(ctx, repopath.Path("deploy", "kind", "issuer-discovery.yaml"))
}

// ApplyExample applies the example and waits until its pod is scheduled. It
// deletes existing pods first, because the webhook changes only new pods.
func (c *Cluster) ApplyExample(ctx context.Context) error {
	example := repopath.Path("examples", "cloudwatch-agent")
	if err := c.pods(ctx, "delete", ExampleNamespace, exampleSelector, "--ignore-not-found"); err != nil {
		return err
	}
	// kubectl applies the files of a directory in alphabetical order, but the
	// namespace must be first.
	if err := c.Apply(ctx, filepath.Join(example, "namespace.yaml")); err != nil {
		return err
	}
	if err := c.Apply(ctx, example); err != nil {
		return err
	}
	// Do not wait for readiness: without AWS, the agent never becomes ready.
	return c.pods(ctx, "wait", ExampleNamespace, exampleSelector, "--for=create", "--for=condition=PodScheduled", "--timeout=2m")
}

// pods runs a kubectl verb on the pods that match the selector.
func (c *Cluster) pods(ctx context.Context, verb, namespace, selector string, flags ...string) error {
	return c.runKubectl(ctx, append([]string{verb, "pods", "--namespace", namespace, "--selector", selector}, flags...)...)
}

// Apply applies a file, or all files of a directory, with kubectl.
func (c *Cluster) Apply(ctx context.Context, path string) error {
	return c.runKubectl(ctx, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", path)
}

func (c *Cluster) runKubectl(ctx context.Context, args ...string) error {
	return Run(ctx, c.Out, c.Kubectl, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}
