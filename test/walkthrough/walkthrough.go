// Package walkthrough shows all of IRSA on a cluster that has nodes: it installs the
// chart, has local-sts play AWS, does in IAM what is done once, and runs an
// application that asks STS who it is. Where the cluster comes from is another's.
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

// What the chart and the example name.
const (
	// Release is the name of the chart's release, and of its namespace.
	Release = "pod-identity-webhook"
	// ExampleNamespace is that of examples/cloudwatch-agent.
	ExampleNamespace = "amazon-cloudwatch"
	exampleSelector  = "name=cloudwatch-agent"
)

// Cluster is one that runs.
type Cluster struct {
	// Images is the directory that `make image` has written; Repository and Tag
	// are the name of the webhook's image in it.
	Images, Repository, Tag string
	// Load loads an archive with an image into the nodes.
	Load func(ctx context.Context, archive string) error
	STS  STS
	// Kubectl, Helm and Plugin, which is kubectl-irsa, are paths.
	Kubectl, Helm, Plugin string
	Kubeconfig            string
	Out                   io.Writer
}

// Flags adds the flags of what is installed, with what make builds as their defaults.
func (c *Cluster) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.Images, "images", repopath.Path("bin", "image"), "`directory` that make image has written")
	flags.StringVar(&c.Repository, "repository", "localhost/pod-identity-webhook", "name of the webhook's image")
	flags.StringVar(&c.Tag, "tag", "", "tag of that image")
	flags.StringVar(&c.Plugin, "plugin", repopath.Path("bin", "kubectl-irsa"), "kubectl-irsa's binary, a `file`")
	flags.StringVar(&c.Helm, "helm", repopath.Path("bin", "helm"), "helm's binary, a `file`")
}

// step is one thing that is done, and what is said before it.
type step struct {
	says string
	do   func(context.Context) error
}

// Up does all of it, anew if it was done before, and shows the pods.
func (c *Cluster) Up(ctx context.Context) error {
	for _, step := range c.steps() {
		fmt.Fprintf(c.Out, "== %s\n", step.says)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	for _, show := range c.shows() {
		if err := show(ctx); err != nil {
			return err
		}
	}
	return nil
}

// steps are what is done, in order.
func (c *Cluster) steps() []step {
	steps := []step{
		{"image " + c.Repository + ":" + c.Tag, c.load(Release)},
		{"chart " + Release, func(ctx context.Context) error { return c.Install(ctx) }},
		{"issuer for everybody to read", c.PublishIssuer},
	}
	if c.STS == LocalSTS {
		steps = append(
			steps,
			step{"image of local-sts", c.load("local-sts")},
			step{"local-sts, a test double of AWS", c.ApplySTS},
			step{"IAM, as on AWS; but its warnings are about AWS, for local-sts can read this issuer", c.Provision},
			step{"application " + WhoAmI, c.RunWhoAmI},
		)
	}
	return append(steps, step{"example " + ExampleNamespace, c.ApplyExample})
}

// shows show what has come of it, in order.
func (c *Cluster) shows() []func(context.Context) error {
	if c.STS == LocalSTS {
		return []func(context.Context) error{c.Show, c.ShowWhoAmI}
	}
	return []func(context.Context) error{c.Show}
}

// load loads the image of a program of ours into the node.
func (c *Cluster) load(program string) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.Load(ctx, filepath.Join(c.Images, program, program+".tar"))
	}
}

// Install installs the chart, or brings it up to date, and waits until it is ready.
// More arguments of helm come last, and so win.
func (c *Cluster) Install(ctx context.Context, args ...string) error {
	digest, err := os.ReadFile(filepath.Join(c.Images, Release, "digest"))
	if err != nil {
		return fmt.Errorf("read which image it is: %w", err)
	}
	return Run(ctx, c.Out, c.Helm, append(c.Installation(strings.TrimSpace(string(digest))), args...)...)
}

// Installation is how helm is called. The chart is as usual but for its image,
// and for the STS that pods are sent to.
func (c *Cluster) Installation(digest string) []string {
	args := []string{
		"--kubeconfig", c.Kubeconfig, "upgrade", "--install", Release, repopath.Path("deploy", "helm", "pod-identity-webhook"),
		"--namespace", Release, "--create-namespace", "--wait", "--timeout", "3m",
		"--set-string", "image.repository=" + c.Repository,
		"--set-string", "image.tag=" + c.Tag,
		// It has been loaded; no registry has it.
		"--set-string", "image.pullPolicy=Never",
		// A tree that is changed and built again keeps its tag; this makes
		// new pods of it all the same.
		"--set-string", "podAnnotations.imageDigest=" + digest,
	}
	if c.STS == LocalSTS {
		// SDKs want a region, whatever the endpoint.
		args = append(args, "--set-string", "stsEndpoint="+STSURL, "--set-string", "awsRegion="+Region)
	}
	return args
}

// PublishIssuer lets anybody read the issuer's documents, as an STS must.
func (c *Cluster) PublishIssuer(ctx context.Context) error {
	return c.Apply(ctx, repopath.Path("deploy", "kind", "issuer-discovery.yaml"))
}

// ApplyExample applies the example. Pods of an earlier time are made anew, as
// only a new pod shows what the webhook that was just installed does.
func (c *Cluster) ApplyExample(ctx context.Context) error {
	example := repopath.Path("examples", "cloudwatch-agent")
	if err := c.pods(ctx, "delete", ExampleNamespace, exampleSelector, "--ignore-not-found"); err != nil {
		return err
	}
	// The directory's files come in the order of their names, and the namespace
	// is not the first.
	if err := c.Apply(ctx, filepath.Join(example, "namespace.yaml")); err != nil {
		return err
	}
	if err := c.Apply(ctx, example); err != nil {
		return err
	}
	// Not until it is ready: without AWS, the agent never is.
	return c.pods(ctx, "wait", ExampleNamespace, exampleSelector, "--for=create", "--for=condition=PodScheduled", "--timeout=2m")
}

// pods does something to the pods of a selector.
func (c *Cluster) pods(ctx context.Context, verb, namespace, selector string, flags ...string) error {
	return c.runKubectl(ctx, append([]string{verb, "pods", "--namespace", namespace, "--selector", selector}, flags...)...)
}

// Apply applies a file, or those of a directory.
func (c *Cluster) Apply(ctx context.Context, path string) error {
	return c.runKubectl(ctx, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", path)
}

func (c *Cluster) runKubectl(ctx context.Context, args ...string) error {
	return Run(ctx, c.Out, c.Kubectl, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}
