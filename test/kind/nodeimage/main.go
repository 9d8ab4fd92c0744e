// Command nodeimage builds a node image for kind without pulling an image. It needs Docker
// or podman, and mmdebstrap:
//
//   - Debian packages come from a Debian mirror.
//   - The programs of Kubernetes, containerd and others are built from their Go modules.
//   - The Dockerfile and the files of the base image, and the builder of the node image,
//     come from kind's Go module.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/kind/engine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "nodeimage: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// builder builds a node image.
type builder struct {
	engine engine.Engine
	// name is the name of the node image.
	name string
	// programs are the directories with the binaries of the node and of its images.
	programs directories
	// kind is the kind program, and module the directory of its Go module.
	kind, module string
	// suite is the Debian release, and mirror the URL of the Debian mirror.
	suite, mirror string
	out           io.Writer
}

func realMain(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("nodeimage", flag.ContinueOnError)
	b := builder{out: out}
	flags.StringVar(&b.name, "name", "", "name of the image")
	flags.Var(&b.programs, "programs", "comma-separated `directories` with binaries; a program comes from the first one that has it")
	flags.StringVar(&b.kind, "kind", "bin/kind/kind", "binary `file` of kind")
	flags.StringVar(&b.module, "module", "", "`directory` of kind's Go module")
	flags.StringVar(&b.suite, "suite", "trixie", "Debian release")
	flags.StringVar(&b.mirror, "mirror", "http://deb.debian.org/debian", "`URL` of a Debian mirror, such as one of snapshot.debian.org for the packages of a date")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.engine, err = check(ctx); err != nil || flags.Arg(0) == "check" {
		return err
	}
	return b.build(ctx)
}

// check returns the container engine, or one error that lists all missing programs.
func check(ctx context.Context) (engine.Engine, error) {
	var missing error
	if _, err := exec.LookPath(debianProgram); err != nil {
		missing = errors.New(debianProgram + " is missing; run `apt-get install " + debianProgram + "`, or install the package of your distribution")
	}
	found, err := engine.Select(ctx)
	return found, errors.Join(missing, err)
}

// build builds the image, unless the engine has one that was built from the same inputs.
func (b *builder) build(ctx context.Context) error {
	started := time.Now()
	inputs, err := b.inputs()
	if err != nil {
		return fmt.Errorf("hash the inputs of the image: %w", err)
	}
	if b.current(ctx, inputs) {
		fmt.Fprintf(b.out, "%s is up to date\n", b.name)
		return nil
	}
	directory, err := os.MkdirTemp(filepath.Dir(b.kind), ".node-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	for _, step := range []struct {
		title string
		do    func(ctx context.Context, directory string) error
	}{
		{"Debian " + b.suite + " from " + b.mirror, b.debian},
		{"base image from kind's Dockerfile", func(ctx context.Context, directory string) error { return b.base(ctx, directory, inputs) }},
		{"images of the control plane", b.server},
		{"node image with kind's builder", b.node},
	} {
		fmt.Fprintf(b.out, "== %s\n", step.title)
		if err := step.do(ctx, directory); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	size, err := b.engine.Output(ctx, "image", "inspect", "--format", "{{.Size}}", b.name)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "built %s in %s, size in bytes: %s", b.name, time.Since(started).Round(time.Second), size)
	return nil
}
