package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// nodePrograms are the programs of Kubernetes that run on the node without a container.
var nodePrograms = []string{"kubeadm", "kubelet", "kubectl"}

// serverFile is the archive of Kubernetes that kind's builder reads. It has the layout of
// kubernetes-server-linux-amd64.tar.gz of a Kubernetes release.
const serverFile = "kubernetes-server.tar.gz"

// server writes serverFile to the directory. The builder reads only the archives of four
// images, but loads every image in them. It pulls only images that are in none.
func (b *builder) server(ctx context.Context, directory string) (err error) {
	kubeadm, err := b.programs.find("kubeadm")
	if err != nil {
		return err
	}
	output, err := walkthrough.Output(ctx, kubeadm, "version", "--output", "short")
	if err != nil {
		return err
	}
	version := strings.TrimSpace(string(output))
	archives, err := b.writeImages(ctx, directory, version)
	if err != nil {
		return err
	}
	for _, program := range nodePrograms {
		if archives[program], err = b.programs.find(program); err != nil {
			return err
		}
	}
	file, err := os.Create(filepath.Join(directory, serverFile)) //nolint:gosec // a file of this program
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	// The archive is read once and deleted, so compression would only take time.
	compressed, err := gzip.NewWriterLevel(file, gzip.NoCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	if err := addFile(archive, "kubernetes/version", []byte(version)); err != nil {
		return err
	}
	for name, path := range archives {
		content, err := os.ReadFile(path) //nolint:gosec // a file of this program, or one that the user says
		if err != nil {
			return err
		}
		if err := addFile(archive, "kubernetes/server/bin/"+name, content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

// writeImages writes the images to four archives, and returns their paths by their names.
func (b *builder) writeImages(ctx context.Context, directory, version string) (map[string]string, error) {
	names, err := b.names(ctx, version)
	if err != nil {
		return nil, err
	}
	const other = "kube-proxy.tar"
	contents := map[string]map[name.Reference]v1.Image{"kube-apiserver.tar": {}, "kube-controller-manager.tar": {}, "kube-scheduler.tar": {}, other: {}}
	for _, image := range append(slices.Clone(images), helper()) {
		reference, err := name.NewTag(names[image.program])
		if err != nil {
			return nil, fmt.Errorf("name of the image with the program %q: %w", image.program, err)
		}
		built, err := image.build(directory, b.programs)
		if err != nil {
			return nil, fmt.Errorf("build image %s: %w", reference, err)
		}
		archive := image.program + ".tar"
		if contents[archive] == nil {
			archive = other
		}
		contents[archive][reference] = built
	}
	archives := make(map[string]string)
	for archive, images := range contents {
		archives[archive] = filepath.Join(directory, "image-"+archive)
		if err := writeArchive(archives[archive], images); err != nil {
			return nil, err
		}
	}
	return archives, nil
}

// writeArchive writes images as `docker save` does. The file repositories comes first,
// because kind's builder reads the names of all images only from there.
func writeArchive(path string, images map[name.Reference]v1.Image) (err error) {
	repositories := make(map[string]map[string]string)
	for reference := range images {
		// The name as kind writes it, without index.docker.io.
		repository := strings.TrimSuffix(reference.String(), ":"+reference.Identifier())
		repositories[repository] = map[string]string{reference.Identifier(): ""}
	}
	content, err := json.Marshal(repositories)
	if err != nil {
		return err
	}
	file, err := os.Create(path) //nolint:gosec // a file of this program
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := tar.NewWriter(file)
	if err := addFile(archive, "repositories", content); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.MultiRefWrite(images, writer)) }()
	defer func() { _ = reader.Close() }()
	for entries := tar.NewReader(reader); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return archive.Close()
		}
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, entries); err != nil { //nolint:gosec // an archive of this program
			return err
		}
	}
}

func addFile(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// dockerScript replaces docker for kind's builder, which supports no other engine. The
// builder pulls the base image first, but the image exists only here.
const dockerScript = `#!/bin/sh
[ "$1" = pull ] && exit 0
exec '%s' "$@"
`

// node builds the node image with `kind build node-image`.
func (b *builder) node(ctx context.Context, directory string) error {
	program, err := exec.LookPath(string(b.engine))
	if err != nil {
		return err
	}
	path := filepath.Join(directory, "path")
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	script := fmt.Sprintf(dockerScript, program)
	if err := os.WriteFile(filepath.Join(path, "docker"), []byte(script), 0o700); err != nil { //nolint:gosec // a program
		return err
	}
	command := exec.CommandContext(ctx, b.kind, "build", "node-image", "--type", "file", //nolint:gosec // the user says which
		"--base-image", baseImage, "--image", b.name, filepath.Join(directory, serverFile))
	command.Env = append(os.Environ(), "PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH"), "TMPDIR="+directory)
	command.Stdout, command.Stderr = b.out, b.out
	if err := command.Run(); err != nil {
		return err
	}
	// Images of an earlier build have no name now.
	return b.engine.Run(ctx, b.out, "image", "prune", "--force", "--filter", "label="+inputsLabel)
}
