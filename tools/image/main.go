// Command image builds the container image of a program of this repository with ko. It needs
// neither Docker nor, if the modules are downloaded, a network. Each build of the same
// commit has the same digest.
//
// It writes, into the directory -out:
//
//	layout/      the image for all platforms and its SBOMs, as an OCI image layout
//	PROGRAM.tar  the image for `kind load image-archive`, `ctr images import` and
//	             `docker load`
//	sbom/        the SBOMs as files, in SPDX
//	digest       the image's digest
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := realMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	source := flags.String("source", ".", "`directory` of the repository's module")
	out := flags.String("out", "", "`directory` to write; its previous content is deleted")
	tag := flags.String("name", "", "name of the image, with its tag")
	base := flags.String("base", "", "base image: a reference, or oci:DIRECTORY for an OCI image layout; empty for an image with only CA certificates")
	push := flags.Bool("push", false, "also push the image to the registry in its name")
	b := build{program: webhook}
	flags.Var(&b.program, "program", "`program` of the image")
	flags.StringVar(&b.version, "version", "devel", "version for the labels")
	flags.StringVar(&b.commit, "commit", "unknown", "commit for the labels")
	flags.StringVar(&b.ldflags, "ldflags", "-s -w", "linker flags")
	epoch := flags.Int64("date", 0, "timestamp of all files in the image, in seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" {
		return errors.New("-out is required")
	}
	reference, err := name.NewTag(*tag)
	if err != nil {
		return fmt.Errorf("-name: %w", err)
	}
	b.source, b.date = *source, time.Unix(*epoch, 0).UTC()
	if b.base, err = findBase(ctx, *base, b.program); err != nil {
		return err
	}
	// ko's log is not needed, because its errors are returned.
	log.SetOutput(io.Discard)
	image, err := b.image(ctx)
	if err != nil {
		return err
	}
	digest, err := image.index.Digest()
	if err != nil {
		return err
	}
	if err := image.write(*out, reference); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s@%s\n", strings.TrimPrefix(reference.Name(), "index.docker.io/library/"), digest)
	if *push {
		return image.push(ctx, reference)
	}
	return nil
}
