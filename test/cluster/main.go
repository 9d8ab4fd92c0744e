// Command cluster runs a complete Kubernetes cluster on this machine, without Docker.
// The real control plane and a node with containerd run in their own kernel namespaces.
// It needs Linux, root and a few packages.
//
//	cluster check         report missing programs
//	cluster up            start the cluster if it does not run, and load the images
//	cluster load FILE...  load image archives, such as those of `make image`
//	cluster walkthrough   run all of IRSA on it, as kind-up does
//	cluster down          stop the cluster and remove all its resources
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
	flags.StringVar(&c.dir, "dir", repopath.Path("bin", "cluster"), "`directory` of the cluster's files")
	flags.StringVar(&c.assets, "assets", repopath.Path("bin", "assets"), "`directory` with the binaries of Kubernetes and etcd")
	flags.StringVar(&c.plugins, "network", repopath.Path("bin", "network"), "`directory` with CNI plugins and CoreDNS")
	flags.StringVar(&c.programs, "programs", repopath.Path("bin", "cluster-images"), "`directory` with the programs for the test images")
	flags.StringVar(&c.address, "address", "", "IP `address` of the node; set by up")
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
	case verbInit: // started by up
		return c.runInit()
	case verbNode: // started by runInit
		return c.runNode(ctx)
	default:
		return fmt.Errorf("unknown command %q, want check, up, load, walkthrough or down", verb)
	}
}
