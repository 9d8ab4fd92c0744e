package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

// What deploy/kind, the chart and the example name.
const (
	clusterName      = "pod-identity-webhook" // deploy/kind/cluster.yaml has it, too
	release          = "pod-identity-webhook"
	releaseNamespace = "pod-identity-webhook"
	exampleNamespace = "amazon-cloudwatch"
	exampleSelector  = "name=cloudwatch-agent"
)

// cluster is the cluster of kind, which may not be there yet.
type cluster struct {
	// images is the folder that `make image` has written; repository and tag
	// are the name of the webhook's image in it.
	images, repository, tag string
	sts                     sts
	// kubectl, helm and plugin, which is kubectl-irsa, are paths; docker and
	// kind are looked up in the PATH.
	kubectl, helm, plugin string
	kubeconfig            string
	out                   io.Writer
}

// step is one thing that is done, and what is said before it.
type step struct {
	says string
	do   func(context.Context) error
}

// up brings the cluster up, or up to date, and shows the pods.
func (c *cluster) up(ctx context.Context) error {
	if err := check(ctx); err != nil {
		return err
	}
	for _, step := range c.steps() {
		fmt.Fprintf(c.out, "== %s\n", step.says)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	for _, show := range c.shows() {
		if err := show(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.out, "\nTo look around: export KUBECONFIG=%s\nTo delete it:   make kind-down\n", c.kubeconfig)
	return nil
}

// steps are what is done, in order.
func (c *cluster) steps() []step {
	steps := []step{
		{"cluster " + clusterName, c.create},
		{"image " + c.repository + ":" + c.tag, c.load(release)},
		{"chart " + release, c.install},
		{"issuer for everybody to read", c.publishIssuer},
	}
	if c.sts == localSTS {
		steps = append(
			steps,
			step{"image of local-sts", c.load("local-sts")},
			step{"local-sts, a test double of AWS", c.applySTS},
			step{"IAM, as on AWS; but its warnings are about AWS, for local-sts can read this issuer", c.provision},
			step{"application " + whoamiName, c.runWhoAmI},
		)
	}
	return append(steps, step{"example " + exampleNamespace, c.applyExample})
}

// shows show what has come of it, in order.
func (c *cluster) shows() []func(context.Context) error {
	if c.sts == localSTS {
		return []func(context.Context) error{c.show, c.showWhoAmI}
	}
	return []func(context.Context) error{c.show}
}

// down deletes the cluster. It succeeds where there is none.
func (c *cluster) down(ctx context.Context) error {
	if err := check(ctx); err != nil {
		return err
	}
	return run(ctx, c.out, "kind", "delete", "cluster", "--name", clusterName, "--kubeconfig", c.kubeconfig)
}

func (c *cluster) create(ctx context.Context) error {
	clusters, err := output(ctx, "kind", "get", "clusters")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.kubeconfig), 0o700); err != nil {
		return fmt.Errorf("make the folder of the kubeconfig: %w", err)
	}
	if slices.Contains(strings.Fields(string(clusters)), clusterName) {
		return run(ctx, c.out, "kind", "export", "kubeconfig", "--name", clusterName, "--kubeconfig", c.kubeconfig)
	}
	return run(ctx, c.out, "kind", "create", "cluster", "--name", clusterName,
		"--config", repository.Path("deploy", "kind", "cluster.yaml"), "--kubeconfig", c.kubeconfig, "--wait", "3m")
}

// load loads the image of a program of ours into the node.
func (c *cluster) load(program string) func(context.Context) error {
	return func(ctx context.Context) error {
		return run(ctx, c.out, "kind", "load", "image-archive", filepath.Join(c.images, program, program+".tar"), "--name", clusterName)
	}
}

func (c *cluster) install(ctx context.Context) error {
	digest, err := os.ReadFile(filepath.Join(c.images, release, "digest"))
	if err != nil {
		return fmt.Errorf("read which image it is: %w", err)
	}
	return run(ctx, c.out, c.helm, c.installation(strings.TrimSpace(string(digest)))...)
}

// installation is how helm is called. The chart is as usual but for its image,
// and for the STS that pods are sent to.
func (c *cluster) installation(digest string) []string {
	args := []string{
		"--kubeconfig", c.kubeconfig, "upgrade", "--install", release, repository.Path("deploy", "helm", "pod-identity-webhook"),
		"--namespace", releaseNamespace, "--create-namespace", "--wait", "--timeout", "3m",
		"--set-string", "image.repository=" + c.repository,
		"--set-string", "image.tag=" + c.tag,
		// It has been loaded; no registry has it.
		"--set-string", "image.pullPolicy=Never",
		// A tree that is changed and built again keeps its tag; this makes
		// new pods of it all the same.
		"--set-string", "podAnnotations.imageDigest=" + digest,
	}
	if c.sts == localSTS {
		// SDKs want a region, whatever the endpoint.
		args = append(args, "--set-string", "stsEndpoint="+stsURL, "--set-string", "awsRegion="+region)
	}
	return args
}

func (c *cluster) publishIssuer(ctx context.Context) error {
	return c.apply(ctx, repository.Path("deploy", "kind", "issuer-discovery.yaml"))
}

// applyExample applies the example. Pods of an earlier time are made anew, as
// only a new pod shows what the webhook that was just installed does.
func (c *cluster) applyExample(ctx context.Context) error {
	example := repository.Path("examples", "cloudwatch-agent")
	if err := c.pods(ctx, "delete", exampleNamespace, exampleSelector, "--ignore-not-found"); err != nil {
		return err
	}
	// The folder's files come in the order of their names, and the namespace
	// is not the first.
	if err := c.apply(ctx, filepath.Join(example, "namespace.yaml")); err != nil {
		return err
	}
	if err := c.apply(ctx, example); err != nil {
		return err
	}
	// Not until it is ready: without AWS, the agent never is.
	return c.pods(ctx, "wait", exampleNamespace, exampleSelector, "--for=create", "--for=condition=PodScheduled", "--timeout=2m")
}

// pods does something to the pods of a selector.
func (c *cluster) pods(ctx context.Context, verb, namespace, selector string, flags ...string) error {
	return c.runKubectl(ctx, append([]string{verb, "pods", "--namespace", namespace, "--selector", selector}, flags...)...)
}

func (c *cluster) apply(ctx context.Context, path string) error {
	return c.runKubectl(ctx, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", path)
}

func (c *cluster) runKubectl(ctx context.Context, args ...string) error {
	return run(ctx, c.out, c.kubectl, append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
}
