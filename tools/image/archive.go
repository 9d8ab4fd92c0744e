package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specsv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// names returns the annotations with the name of an image in a layout: containerd's has the
// full name, and OCI's the tag.
func names(reference name.Tag) map[string]string {
	return map[string]string{
		"io.containerd.image.name": reference.Name(),
		specsv1.AnnotationRefName:  reference.TagStr(),
	}
}

// writeArchive writes an archive in the format of `docker save`. It has an OCI layout with all
// platforms for containerd, and a manifest.json with one platform for Docker's older
// image store. It has no SBOMs, because `ctr images import --digests`, which kind uses,
// imports every manifest as an image.
func (i image) writeArchive(file string, reference name.Tag) error {
	directory, err := os.MkdirTemp(filepath.Dir(file), ".archive-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	path, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(i.index, layout.WithAnnotations(names(reference))); err != nil {
		return err
	}
	docker, err := i.dockerManifest(reference)
	if err != nil {
		return err
	}
	if err := path.WriteFile("manifest.json", docker, 0o644); err != nil {
		return err
	}
	return archive(file, directory)
}

// dockerManifest returns manifest.json for the platform of this machine.
func (i image) dockerManifest(reference name.Tag) ([]byte, error) {
	index, err := i.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	chosen := index.Manifests[0].Digest
	for _, descriptor := range index.Manifests {
		if descriptor.Platform.Architecture == runtime.GOARCH {
			chosen = descriptor.Digest
		}
	}
	image, err := i.index.Image(chosen)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	blob := func(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	one := entry{Config: blob(manifest.Config.Digest), RepoTags: []string{reference.Name()}}
	for _, layer := range manifest.Layers {
		if !layer.MediaType.IsLayer() || layer.MediaType == types.OCILayerZStd {
			return nil, fmt.Errorf("docker load does not support layers of type %s", layer.MediaType)
		}
		one.Layers = append(one.Layers, blob(layer.Digest))
	}
	return json.Marshal([]entry{one})
}

// archive writes a directory as a tar file. The file depends only on names and contents.
func archive(file, directory string) (err error) {
	out, err := os.Create(file) //nolint:gosec // the caller says which file
	if err != nil {
		return err
	}
	defer func() {
		if closing := out.Close(); err == nil {
			err = closing
		}
	}()
	writer := tar.NewWriter(out)
	root := os.DirFS(directory)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if entry.IsDir() {
			return writer.WriteHeader(&tar.Header{Name: path + "/", Typeflag: tar.TypeDir, Mode: 0o755})
		}
		content, err := root.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if err := writer.WriteHeader(&tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(writer, content)
		return err
	})
	if err != nil {
		return err
	}
	return writer.Close()
}
