// Command cluster runs a whole Kubernetes cluster on this machine, with no Docker:
// the control plane and a node with containerd, of real parts, in namespaces of the
// kernel of their own. It needs Linux, root and a few packages.
//
//	cluster check         say what is missing on this machine
//	cluster up            start it, unless it runs, and load the images
//	cluster load FILE...  load images, each an archive such as `make image` writes
//	cluster walkthrough   see all of IRSA on it, as kind-up shows it
//	cluster down          end it, and remove all that there is of it
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func realMain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	c := cluster{out: out}
	irsa := walkthrough.Cluster{STS: walkthrough.LocalSTS, Load: func(ctx context.Context, archive string) error { return c.load(ctx, archive) }, Out: out}
	irsa.Flags(flags)
	flags.StringVar(&c.dir, "dir", repopath.Path("bin", "cluster"), "`directory` of the cluster's own")
	flags.StringVar(&c.assets, "assets", repopath.Path("bin", "assets"), "`directory` with the parts of Kubernetes and etcd")
	flags.StringVar(&c.plugins, "network", repopath.Path("bin", "network"), "`directory` with CNI plugins and CoreDNS")
	flags.StringVar(&c.programs, "programs", repopath.Path("bin", "cluster-images"), "`directory` with the programs of the cluster's own images")
	flags.StringVar(&c.address, "address", "", "the node's `address`, which up chooses")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.images = irsa.Images
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	switch verb := flags.Arg(0); verb {
	case "check":
		return check()
	case "up":
		return c.up(ctx)
	case "load":
		return c.load(ctx, flags.Args()[1:]...)
	case "walkthrough":
		irsa.Kubectl, irsa.Kubeconfig = filepath.Join(c.assets, "kubectl"), c.kubeconfig()
		return irsa.Up(ctx)
	case "down":
		return c.down(ctx)
	case verbInit: // what up starts
		return c.runInit()
	case verbNode: // what that starts
		return c.runNode(ctx)
	default:
		return fmt.Errorf("%q is not one of check, up, load, walkthrough and down", verb)
	}
}
