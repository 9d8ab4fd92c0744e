// Command demo shows, on a real Kubernetes API server that it starts itself,
// how a pod gets its AWS identity, and checks what it shows. With -up the
// cluster stays up for the user to try.
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

// options are what the flags say.
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
	flag.StringVar(&o.webhook, "webhook", webhookprocess.DefaultBinary(), "the webhook's binary, a `file`")
	flag.StringVar(&o.localSTS, "local-sts", stsprocess.DefaultBinary(), "the fake AWS, a `file`")
	flag.StringVar(&o.plugin, "kubectl-irsa", repopath.Path("bin", "kubectl-irsa"), "the binary of kubectl irsa, a `file`")
	flag.StringVar(&o.example, "example", repopath.Path("examples", "cloudwatch-agent"), "`directory` with the example's manifests")
	flag.BoolVar(&o.up, "up", false, "stay up until Ctrl-C")
	verbose := flag.Bool("v", false, "print each step, the ServiceAccount and the claims of the token")
	flag.Parse()

	// Each of these ends the demo in order: Ctrl-C, kill, a terminal that is
	// closed, and a reader of the output that has gone. After the first, the
	// next one ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	// But a gone reader may not cut the clean-up short when that writes.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	if err := demo(ctx, screen{out: os.Stdout, verbose: *verbose}, o); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}
