// Command envtest downloads a prebuilt etcd and kube-apiserver, from the index of
// controller-runtime's setup-envtest. It gives up when the server is slow. It prints one
// line with the version, or with the error, and exits with 1 if it failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"sigs.k8s.io/controller-runtime/tools/setup-envtest/remote"
)

func main() {
	d := download{platform: platform{runtime.GOOS, runtime.GOARCH}, progress: os.Stderr}
	flag.StringVar(&d.index, "index", remote.DefaultIndexURL, "`URL` of the list of archives")
	flag.StringVar(&d.minor, "version", "", "minor version of Kubernetes, such as 1.37")
	flag.StringVar(&d.directory, "directory", "", "`directory` for the programs")
	flag.DurationVar(&d.patience, "patience", 5*time.Second, "maximum time without data from the server")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	version, err := d.run(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "no prebuilt control plane: %v\n", err)
		os.Exit(1) //nolint:forbidigo,gocritic // this is main, and the signal handler ends with it
	}
	fmt.Fprintf(os.Stderr, "downloaded the control plane of Kubernetes %s to %s\n", version, d.directory)
}

// errStalled is the cause of a request that was canceled because no data arrived.
var errStalled = errors.New("the server sent nothing for too long")
