// Command kind runs all of IRSA on a kind cluster. It creates the cluster, loads
// the images, and installs the chart and local-sts, a fake AWS. Then it runs an
// application that calls GetCallerIdentity.
//
//	kind check           report missing programs and images
//	kind up              create or update the cluster and everything in it
//	kind create          create only the cluster
//	kind load FILE...    load image archives into its node
//	kind exec ARG...     run a command on its node
//	kind resources       list its containers and volumes
//	kind down            delete the cluster
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kind: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func realMain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("kind", flag.ContinueOnError)
	c := cluster{Cluster: walkthrough.Cluster{STS: walkthrough.LocalSTS, Out: out}}
	flags.Var(&c.STS, "sts", "`STS` that the pods use: local-sts, which then runs in the cluster, or aws")
	c.Flags(flags)
	flags.StringVar(&c.name, "name", "pod-identity-webhook", "name of the cluster")
	flags.StringVar(&c.configuration, "config", repopath.Path("deploy", "kind", "cluster.yaml"), "configuration `file` of the cluster")
	flags.StringVar(&c.kind, "kind", repopath.Path("bin", "kind", "kind"), "binary `file` of kind")
	flags.StringVar(&c.nodeImage, "node-image", "", "image of the node (default: the image of make kind-image if it exists, else the published image of kind)")
	flags.StringVar(&c.builtNodeImage, "built-node-image", "", "image of make kind-image")
	flags.StringVar(&c.Kubectl, "kubectl", repopath.Path("bin", "assets", "kubectl"), "binary `file` of kubectl")
	flags.StringVar(&c.Kubeconfig, "kubeconfig", repopath.Path("bin", "kind", "kubeconfig"), "kubeconfig `file` to write; your own kubeconfig is not changed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch verb := flags.Arg(0); verb {
	case "check":
		return c.prepare(ctx)
	case "up":
		return c.up(ctx)
	case "create":
		return c.create(ctx)
	case "load":
		return c.load(ctx, flags.Args()[1:]...)
	case "exec":
		return c.exec(ctx, flags.Args()[1:]...)
	case "resources":
		return c.resources(ctx)
	case "down":
		return c.down(ctx)
	default:
		return fmt.Errorf("unknown command %q, want check, up, create, load, exec, resources or down", verb)
	}
}
