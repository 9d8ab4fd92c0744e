package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// programImage is an image of the control plane, with one program.
type programImage struct {
	// program is the name of the program, and path its path in the image.
	program, path string
	// root is an archive of debian with other files of the image, or empty.
	root  string
	links map[string]string
	// entrypoint reports whether the image starts the program. Manifests start the others.
	entrypoint bool
}

// binaries is the directory of the programs that manifests start by name.
const binaries = "usr/local/bin/"

// images are the images with a program.
var images = []programImage{
	{program: "kube-apiserver", path: binaries + "kube-apiserver"},
	{program: "kube-controller-manager", path: binaries + "kube-controller-manager"},
	{program: "kube-scheduler", path: binaries + "kube-scheduler"},
	{program: "kube-proxy", path: binaries + "kube-proxy", root: proxyRoot, links: iptables()},
	{program: "etcd", path: binaries + "etcd"},
	{program: "coredns", path: "coredns", entrypoint: true},
	{program: "pause", path: "pause", entrypoint: true},
	{program: "podnetwork", path: "podnetwork", entrypoint: true},
	{program: "local-path-provisioner", path: binaries + "local-path-provisioner", entrypoint: true},
}

// noProgram is the program of the helper image, which has only files of Debian.
const noProgram = ""

// helper returns the image with the shell that creates and removes local volumes.
func helper() programImage {
	return programImage{program: noProgram, root: busyboxRoot, links: map[string]string{
		"usr/bin/sh": "busybox", "usr/bin/mkdir": "busybox", "usr/bin/rm": "busybox",
	}}
}

// iptables returns the links that the package's installation script creates.
func iptables() map[string]string {
	links := make(map[string]string)
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["usr/sbin/"+command+suffix] = "xtables-nft-multi"
		}
	}
	return links
}

// merged are the links in the root directory of each Debian system.
var merged = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

// build returns the image.
func (i *programImage) build(directory string, programs directories) (v1.Image, error) {
	config := v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{WorkingDir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
	}
	if i.entrypoint {
		config.Config.Entrypoint = []string{"/" + i.path}
	}
	image, err := mutate.ConfigFile(empty.Image, &config)
	if err != nil {
		return nil, err
	}
	links := make(map[string]string)
	maps.Copy(links, i.links)
	if i.root != "" {
		root, err := tarball.LayerFromFile(filepath.Join(directory, i.root))
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, root); err != nil {
			return nil, err
		}
		maps.Copy(links, merged)
	}
	var content []byte
	if i.program != noProgram {
		path, err := programs.find(i.program)
		if err != nil {
			return nil, err
		}
		if content, err = os.ReadFile(path); err != nil { //nolint:gosec // the user says which
			return nil, err
		}
	}
	layer, err := layer(i.path, content, links)
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// layer returns a layer with symbolic links, and a program if path is not empty.
func layer(path string, program []byte, links map[string]string) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, link := range slices.Sorted(maps.Keys(links)) {
		if err := archive.WriteHeader(&tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: links[link], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	if path != "" {
		if err := archive.WriteHeader(&tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(program); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil })
}

// sandboxImage matches the name of the pause image in the configuration of containerd.
var sandboxImage = regexp.MustCompile(`(?m)^\s*sandbox_image\s*=\s*"([^"]+)"`)

// names returns the names of the images by program.
func (b *builder) names(ctx context.Context, version string) (map[string]string, error) {
	kubeadm, err := b.programs.find("kubeadm")
	if err != nil {
		return nil, err
	}
	output, err := walkthrough.Output(ctx, kubeadm, "config", "images", "list", "--kubernetes-version", version)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string)
	for image := range strings.FieldsSeq(string(output)) {
		program := image[strings.LastIndex(image, "/")+1:]
		program, _, _ = strings.Cut(program, ":")
		names[program] = image
	}
	configuration, err := os.ReadFile(filepath.Join(b.module, "images", "base", "files", "etc", "containerd", "config.toml"))
	if err != nil {
		return nil, err
	}
	sandbox := sandboxImage.FindSubmatch(configuration)
	if sandbox == nil {
		return nil, errors.New("kind's configuration of containerd has no sandbox_image")
	}
	names["pause"] = string(sandbox[1])
	for program, image := range map[string]struct{ file, constant string }{
		"podnetwork":             {"const_cni.go", "kindnetdImage"},
		"local-path-provisioner": {"const_storage.go", "storageProvisionerImage"},
		noProgram:                {"const_storage.go", "storageHelperImage"},
	} {
		if names[program], err = stringConstant(filepath.Join(b.module, "pkg", "build", "nodeimage", image.file), image.constant); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// stringConstant returns the value of a constant in a Go file without imports. kind does
// not export the names of its images.
func stringConstant(path, constantName string) (string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	checked, err := new(types.Config).Check("kind", files, []*ast.File{file}, nil)
	if err != nil {
		return "", err
	}
	found, ok := checked.Scope().Lookup(constantName).(*types.Const)
	if !ok {
		return "", fmt.Errorf("%s has no constant %s", path, constantName)
	}
	return constant.StringVal(found.Val()), nil
}
