package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/kind/engine"
)

// Names of the images that kind's Dockerfile reads and writes.
const (
	debianImage = "localhost/pod-identity-webhook/kind-debian:latest"
	baseImage   = "localhost/pod-identity-webhook/kind-base:latest"
)

// source replaces a stage of kind's Dockerfile. Those stages clone git repositories and
// build the programs there.
type source struct {
	stage string
	// path is the directory of the programs in the stage.
	path     string
	programs []string
}

var sources = []source{
	{"build-containerd", "containerd/bin", []string{"containerd", "ctr", "containerd-shim-runc-v2"}},
	{"build-crictl", "cri-tools/build", []string{"crictl"}},
	{"build-cni", "cni-plugins/bin", []string{"host-local", "loopback", "ptp", "portmap"}},
	{"build-fuse-overlayfs", "fuse-overlayfs-snapshotter/bin", []string{"containerd-fuse-overlayfs-grpc"}},
}

// runcStage is the stage with runc. It comes from a Debian package.
const runcStage = "build-runc"

// base builds the base image from kind's Dockerfile, with programs of this machine in
// place of the stages that clone their sources.
func (b *builder) base(ctx context.Context, directory, inputs string) error {
	if err := b.engine.Run(ctx, b.out, "import", "--change", "LABEL "+inputsLabel+"="+inputs, filepath.Join(directory, debianRoot), debianImage); err != nil {
		return err
	}
	files := filepath.Join(b.module, "images", "base")
	args := []string{
		"build", "--file", filepath.Join(files, "Dockerfile"), "--tag", baseImage,
		"--label", inputsLabel + "=" + inputs, "--build-arg", "BASE_IMAGE=" + debianImage, "--build-arg", "TARGETARCH=" + runtime.GOARCH,
		// The Dockerfile installs packages from the mirror.
		"--network", "host",
	}
	if b.engine == engine.Podman {
		args = append(args, "--layers=false") // do not store intermediate images
	}
	for _, source := range sources {
		stage := filepath.Join(directory, source.stage)
		if err := b.programs.copyTo(filepath.Join(stage, source.path), source.programs...); err != nil {
			return err
		}
		if err := b.writeOrigin(stage, source); err != nil {
			return err
		}
		args = append(args, "--build-context", source.stage+"="+stage)
	}
	stage := filepath.Join(directory, runcStage)
	if err := extract(filepath.Join(directory, runcRoot), "usr/sbin/runc", filepath.Join(stage, "runc", "runc"), 0o755); err != nil {
		return err
	}
	if err := extract(filepath.Join(directory, runcRoot), "usr/share/doc/runc/copyright", filepath.Join(stage, licenses, "runc"), 0o644); err != nil {
		return err
	}
	args = append(args, "--build-context", runcStage+"="+stage)
	// The output has hundreds of lines.
	var output bytes.Buffer
	if err := b.engine.Run(ctx, &output, append(args, files)...); err != nil {
		fmt.Fprintln(b.out, output.String())
		return err
	}
	return nil
}

// licenses is the directory in each stage whose files kind copies to /LICENSES.
const licenses = "_LICENSES"

// writeOrigin writes a file with the Go modules of the stage's programs.
func (b *builder) writeOrigin(stage string, source source) error {
	var origin strings.Builder
	for _, program := range source.programs {
		module, err := b.programs.module(program)
		if err != nil {
			return err
		}
		fmt.Fprintf(&origin, "%s: %s\n", program, module)
	}
	if err := os.MkdirAll(filepath.Join(stage, licenses), 0o755); err != nil { //nolint:gosec // the image's users read it
		return err
	}
	return os.WriteFile(filepath.Join(stage, licenses, source.stage+".modules"), []byte(origin.String()), 0o644) //nolint:gosec // the image's users read it
}

// extract writes one file of an archive. The name has no leading slash.
func extract(archive, name, to string, mode os.FileMode) error {
	file, err := os.Open(archive) //nolint:gosec // a file of this program
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s has no file %s", archive, name)
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg || strings.TrimPrefix(header.Name, "./") != name {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // the image's users read it
			return err
		}
		return os.WriteFile(to, content, mode)
	}
}
