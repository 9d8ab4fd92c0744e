package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ownImage is an image with one program of this directory. It has no other files
// than directories and symbolic links.
type ownImage struct {
	program, name string
	directories   []string
	links         map[string]string
}

var own = []ownImage{
	{program: "pause", name: pauseImage},
	{program: "whoamiapp", name: "localhost/application:dev"},
	// It replaces the CloudWatch agent in examples/cloudwatch-agent.
	{program: "whoamiapp", name: "docker.io/amazon/cloudwatch-agent:1.247348.0b251302"},
	// In most images /var/run is a link to /run. In some it is a directory, and in
	// images with a single program it does not exist.
	{program: "whoamiapp", name: "localhost/application:run-link", directories: []string{"run", "var"}, links: map[string]string{"var/run": "/run"}},
	{program: "probe", name: "localhost/probe:run-link", directories: []string{"run", "var"}, links: map[string]string{"var/run": "/run"}},
	{program: "probe", name: "localhost/probe:run-directory", directories: []string{"run", "var", "var/run"}},
	{program: "probe", name: "localhost/probe:no-var"},
}

// importOwn builds these images and imports them into containerd.
func (n *node) importOwn(ctx context.Context) error {
	for _, image := range own {
		file := filepath.Join(n.dir, image.program+".tar")
		if err := image.write(file, n.programs); err != nil {
			return fmt.Errorf("build image %s: %w", image.name, err)
		}
		if err := importImage(ctx, containerdSocket, file); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// write writes the image, with its program from the directory programs, to an archive.
func (i *ownImage) write(file, programs string) error {
	reference, err := name.NewTag(i.name)
	if err != nil {
		return err
	}
	layer, err := i.layer(programs)
	if err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/" + i.program}, WorkingDir: "/"},
	})
	if err != nil {
		return err
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return err
	}
	return tarball.WriteToFile(file, reference, image)
}

func (i *ownImage) layer(programs string) (v1.Layer, error) {
	content, err := os.ReadFile(filepath.Join(programs, i.program)) //nolint:gosec // the caller says which
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	headers := make([]*tar.Header, 0, 1+len(i.directories)+len(i.links))
	for _, directory := range i.directories {
		headers = append(headers, &tar.Header{Name: directory + "/", Typeflag: tar.TypeDir, Mode: 0o755})
	}
	for _, link := range slices.Sorted(maps.Keys(i.links)) {
		headers = append(headers, &tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: i.links[link], Mode: 0o777})
	}
	headers = append(headers, &tar.Header{Name: i.program, Typeflag: tar.TypeReg, Mode: 0o555, Size: int64(len(content))})
	for _, header := range headers {
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	if _, err := archive.Write(content); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	})
}

// loadBuilt loads the images that `make image` has built, if any.
func (c *cluster) loadBuilt(ctx context.Context) error {
	built, err := fs.Glob(os.DirFS(c.images), "*/*.tar")
	if err != nil {
		return err
	}
	for i := range built {
		built[i] = filepath.Join(c.images, built[i])
	}
	return c.load(ctx, built...)
}

// load loads image archives into the node. It returns an error if no cluster runs.
func (c *cluster) load(ctx context.Context, files ...string) error {
	holder, err := c.lockOwner()
	if err != nil {
		return err
	}
	if holder == 0 {
		return fmt.Errorf("load images: no cluster runs in %s; run `make cluster`", c.dir)
	}
	// /proc/PID/root is the file system of the node's first process.
	socket := filepath.Join("/proc", strconv.Itoa(holder), "root", containerdSocket)
	for _, file := range files {
		fmt.Fprintf(c.out, "image %s\n", filepath.Base(file))
		if err := importImage(ctx, socket, file); err != nil {
			return err
		}
	}
	return nil
}

func importImage(ctx context.Context, socket, file string) error {
	return ctr(ctx, socket, "--namespace", "k8s.io", "images", "import", "--snapshotter", "native", file)
}

// ctr runs ctr, the command-line client of containerd.
func ctr(ctx context.Context, socket string, args ...string) error {
	args = append([]string{"--address", socket}, args...)
	output, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput() //nolint:gosec // the arguments are this program's
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
