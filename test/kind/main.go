// Command kind shows all of IRSA on a cluster of kind: it creates the cluster,
// loads the images, installs the chart, has local-sts play AWS, and runs an
// application that asks it who it is.
//
//	kind check    say what is missing on this machine
//	kind up       do all of it; a cluster that is there is brought up to date
//	kind down     delete the cluster
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
	c := cluster{walkthrough.Cluster{STS: walkthrough.LocalSTS, Out: out}}
	flags.Var(&c.STS, "sts", "whose `STS` the pods are sent to: local-sts, which is then run in the cluster, or aws")
	c.Flags(flags)
	flags.StringVar(&c.Kubectl, "kubectl", repopath.Path("bin", "assets", "kubectl"), "kubectl's binary, a `file`")
	flags.StringVar(&c.Kubeconfig, "kubeconfig", repopath.Path("bin", "kind", "kubeconfig"), "kubeconfig to write, a `file`; the user's own is left alone")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch verb := flags.Arg(0); verb {
	case "check":
		return check(ctx)
	case "up":
		return c.up(ctx)
	case "down":
		return c.down(ctx)
	default:
		return fmt.Errorf("%q is not one of check, up and down", verb)
	}
}
