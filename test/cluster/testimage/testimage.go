// Package testimage builds the images of the tests on a cluster. Each has one program.
package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Pause is the name of the image that keeps the namespaces of a pod.
const Pause = "localhost/pause:cluster"

// programImage is an image with one program. It has no other files than directories
// and symbolic links.
type programImage struct {
	program, name string
	directories   []string
	links         map[string]string
}

var images = []programImage{
	{program: "pause", name: Pause},
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

// WriteArchive writes all images to one archive, as `docker save` does. programs is the
// directory of their programs.
func WriteArchive(file, programs string) error {
	built := make(map[name.Reference]v1.Image)
	for _, image := range images {
		reference, err := name.NewTag(image.name)
		if err != nil {
			return err
		}
		if built[reference], err = image.build(programs); err != nil {
			return fmt.Errorf("build image %s: %w", image.name, err)
		}
	}
	return tarball.MultiRefWriteToFile(file, built)
}

func (i *programImage) build(programs string) (v1.Image, error) {
	layer, err := i.layer(programs)
	if err != nil {
		return nil, err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/" + i.program}, WorkingDir: "/"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

func (i *programImage) layer(programs string) (v1.Layer, error) {
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
