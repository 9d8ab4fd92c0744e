package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// own are the images of programs of the cluster's own, by the name of the program.
var own = map[string][]string{
	"pause": {pauseImage},
	// It stands in for the CloudWatch agent of examples/cloudwatch-agent.
	"application": {"localhost/application:dev", "docker.io/amazon/cloudwatch-agent:1.247348.0b251302"},
}

// importOwn makes those images and imports them.
func (n *node) importOwn(ctx context.Context) error {
	for program, names := range own {
		for _, name := range names {
			file := filepath.Join(n.dir, program+".tar")
			if err := writeImage(file, name, filepath.Join(n.programs, program)); err != nil {
				return fmt.Errorf("make the image %s: %w", name, err)
			}
			if err := importImage(ctx, containerdSocket, file); err != nil {
				return err
			}
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeImage writes an image that has one program, and nothing besides.
func writeImage(file, named, program string) error {
	reference, err := name.NewTag(named)
	if err != nil {
		return err
	}
	layer, err := programLayer(program)
	if err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/" + filepath.Base(program)}, WorkingDir: "/"},
	})
	if err != nil {
		return err
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return err
	}
	return tarball.WriteToFile(file, reference, image)
}

func programLayer(program string) (v1.Layer, error) {
	content, err := os.ReadFile(program) //nolint:gosec // the caller says which
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	header := &tar.Header{Name: filepath.Base(program), Typeflag: tar.TypeReg, Mode: 0o555, Size: int64(len(content))}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
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

// loadBuilt loads what `make image` has written, as far as it has.
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

// load loads images into the node.
func (c *cluster) load(ctx context.Context, files ...string) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	if holder == 0 {
		return fmt.Errorf("load images: no cluster runs in %s; `make cluster` starts it", c.dir)
	}
	// The node's own file system can be seen by way of its first process.
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

// ctr runs containerd's client.
func ctr(ctx context.Context, socket string, args ...string) error {
	args = append([]string{"--address", socket}, args...)
	said, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput() //nolint:gosec // the arguments are this program's
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said))
	}
	return nil
}
