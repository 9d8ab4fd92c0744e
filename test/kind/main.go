// Command kind shows a pod with its identity on a cluster of kind: it creates
// the cluster, loads the image, installs the chart and applies the example.
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

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
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
	c := cluster{out: out}
	flags.StringVar(&c.image, "image", repository.Path("bin", "image"), "`folder` that make image has written")
	flags.StringVar(&c.repository, "repository", "localhost/pod-identity-webhook", "name of that image")
	flags.StringVar(&c.tag, "tag", "", "tag of that image")
	flags.StringVar(&c.kubectl, "kubectl", repository.Path("bin", "assets", "kubectl"), "kubectl's binary, a `file`")
	flags.StringVar(&c.helm, "helm", repository.Path("bin", "helm"), "helm's binary, a `file`")
	flags.StringVar(&c.kubeconfig, "kubeconfig", repository.Path("bin", "kind", "kubeconfig"), "kubeconfig to write, a `file`; the user's own is left alone")
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
