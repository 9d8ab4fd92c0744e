package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v3/pkg/oci"
)

// spdx is the media type of SPDX SBOMs.
const spdx types.MediaType = "application/spdx+json"

// image is the built image: the index and its SBOMs.
type image struct {
	program program
	index   v1.ImageIndex
	sboms   []sbom
}

// sbom is the SBOM of the index or of the image of one platform.
type sbom struct {
	// of is "index", or the platform with a dash in place of the slash.
	of      string
	subject v1.Descriptor
	content []byte
}

// newImage separates the SBOMs from ko's result.
func newImage(of program, index oci.SignedImageIndex) (image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return image{}, err
	}
	subject, err := partial.Descriptor(index)
	if err != nil {
		return image{}, err
	}
	built := image{program: of, index: index}
	if err := built.describe("index", *subject, index); err != nil {
		return image{}, err
	}
	for _, descriptor := range manifest.Manifests {
		platform, err := index.SignedImage(descriptor.Digest)
		if err != nil {
			return image{}, err
		}
		subject := v1.Descriptor{MediaType: descriptor.MediaType, Size: descriptor.Size, Digest: descriptor.Digest}
		of := descriptor.Platform.OS + "-" + descriptor.Platform.Architecture
		if err := built.describe(of, subject, platform); err != nil {
			return image{}, err
		}
	}
	return built, nil
}

func (i *image) describe(of string, subject v1.Descriptor, entity oci.SignedEntity) error {
	file, err := entity.Attachment("sbom")
	if err != nil {
		return fmt.Errorf("find SBOM of %s: %w", of, err)
	}
	content, err := file.Payload()
	if err != nil {
		return fmt.Errorf("read SBOM of %s: %w", of, err)
	}
	i.sboms = append(i.sboms, sbom{of, subject, content})
	return nil
}

// manifest returns the SBOM as an artifact that refers to its subject, so that registries
// list it.
func (s sbom) manifest() (v1.Image, error) {
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), spdx)
	artifact, err := mutate.AppendLayers(artifact, static.NewLayer(s.content, spdx))
	if err != nil {
		return nil, err
	}
	return mutate.Subject(artifact, s.subject).(v1.Image), nil
}

// write replaces the directory out atomically.
func (i image) write(out string, reference name.Tag) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil { //nolint:gosec // a build's output is for everybody
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(out), ".image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	if err := os.Chmod(unfinished, 0o755); err != nil { //nolint:gosec // the same
		return err
	}
	for _, write := range []func() error{
		func() error { return i.writeLayout(filepath.Join(unfinished, "layout"), reference) },
		func() error { return i.writeArchive(filepath.Join(unfinished, string(i.program)+".tar"), reference) },
		func() error { return i.writeSBOMs(filepath.Join(unfinished, "sbom")) },
		func() error { return i.writeDigest(filepath.Join(unfinished, "digest")) },
		func() error { return os.RemoveAll(out) },
		func() error { return os.Rename(unfinished, out) },
	} {
		if err := write(); err != nil {
			return fmt.Errorf("write %s: %w", out, err)
		}
	}
	return nil
}

// writeLayout writes the image and its SBOMs as an OCI layout.
func (i image) writeLayout(directory string, reference name.Tag) error {
	path, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(i.index, layout.WithAnnotations(names(reference))); err != nil {
		return err
	}
	for _, sbom := range i.sboms {
		manifest, err := sbom.manifest()
		if err != nil {
			return err
		}
		if err := path.AppendImage(manifest); err != nil {
			return err
		}
	}
	return nil
}

func (i image) writeSBOMs(directory string) error {
	if err := os.Mkdir(directory, 0o755); err != nil { //nolint:gosec // the same
		return err
	}
	for _, sbom := range i.sboms {
		if err := os.WriteFile(filepath.Join(directory, sbom.of+".spdx.json"), sbom.content, 0o644); err != nil { //nolint:gosec // the same
			return err
		}
	}
	return nil
}

func (i image) writeDigest(file string) error {
	digest, err := i.index.Digest()
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(digest.String()+"\n"), 0o644) //nolint:gosec // the same
}

// push pushes the image and then its SBOMs.
func (i image) push(ctx context.Context, reference name.Tag) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if err := remote.WriteIndex(reference, i.index, options...); err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	for _, sbom := range i.sboms {
		manifest, err := sbom.manifest()
		if err != nil {
			return err
		}
		digest, err := manifest.Digest()
		if err != nil {
			return err
		}
		if err := remote.Write(reference.Digest(digest.String()), manifest, options...); err != nil {
			return fmt.Errorf("push SBOM of %s: %w", sbom.of, err)
		}
	}
	return nil
}
