// Command demo starts a real Kubernetes API server, and shows and checks on it
// how a pod gets its AWS identity. With -up the cluster keeps running until Ctrl-C.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// options are the values of the flags.
type options struct {
	assets, webhook, localSTS, plugin, example string
	up                                         bool
}

func main() {
	os.Exit(run()) //nolint:forbidigo // this is main
}

func run() int {
	var o options
	flag.StringVar(&o.assets, "assets", controlplane.DefaultAssets(), "`directory` with the binaries etcd and kube-apiserver")
	flag.StringVar(&o.webhook, "webhook", webhookprocess.DefaultBinary(), "binary `file` of the webhook")
	flag.StringVar(&o.localSTS, "local-sts", stsprocess.DefaultBinary(), "binary `file` of local-sts, the fake AWS")
	flag.StringVar(&o.plugin, "kubectl-irsa", repopath.Path("bin", "kubectl-irsa"), "binary `file` of kubectl irsa")
	flag.StringVar(&o.example, "example", repopath.Path("examples", "cloudwatch-agent"), "`directory` with the example's manifests")
	flag.BoolVar(&o.up, "up", false, "keep the cluster running until Ctrl-C")
	verbose := flag.Bool("v", false, "print each step, the ServiceAccount and the claims of the token")
	flag.Parse()

	// Each of these signals stops the demo with a cleanup: Ctrl-C, kill, a closed
	// terminal, and a closed pipe of the output. A second signal ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	// A write to a closed pipe during the cleanup must not end the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	if err := demo(ctx, screen{out: os.Stdout, verbose: *verbose}, o); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}
