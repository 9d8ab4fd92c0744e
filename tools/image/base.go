package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the ID of the user that distroless images call nonroot.
const user = "65532"

// base is the base image: an index with all platforms.
type base struct {
	name  name.Reference
	index v1.ImageIndex
}

// findBase returns the base image: a reference in a registry, oci:DIRECTORY, or
// certificatesBase if from is empty. It returns an error if a platform is missing.
func findBase(ctx context.Context, from string, of program) (base, error) {
	found, err := readBase(ctx, from, of)
	if err != nil {
		return base{}, err
	}
	manifest, err := found.index.IndexManifest()
	if err != nil {
		return base{}, fmt.Errorf("read base image %s: %w", from, err)
	}
	for _, platform := range platforms() {
		if !slices.ContainsFunc(manifest.Manifests, func(has v1.Descriptor) bool {
			return has.Platform != nil && has.Platform.Satisfies(platform)
		}) {
			return base{}, fmt.Errorf("base image %s has no image for %s", from, platform)
		}
	}
	return found, nil
}

func readBase(ctx context.Context, from string, of program) (base, error) {
	directory, local := strings.CutPrefix(from, "oci:")
	switch {
	case from == "":
		// No registry has the name localhost.
		reference, err := name.ParseReference("localhost/ca-certificates")
		if err != nil {
			return base{}, err
		}
		index, err := certificatesBase(of)
		return base{reference, index}, err
	case local:
		reference, err := name.ParseReference("localhost/base")
		if err != nil {
			return base{}, err
		}
		index, err := layoutBase(directory)
		if err != nil {
			return base{}, fmt.Errorf("read base image %s: %w", from, err)
		}
		return base{reference, index}, nil
	}
	reference, err := name.ParseReference(from)
	if err != nil {
		return base{}, fmt.Errorf("base image: %w", err)
	}
	index, err := remote.Index(reference, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return base{}, fmt.Errorf("get base image %s, which must be a multi-platform index: %w", from, err)
	}
	return base{reference, index}, nil
}

// layoutBase returns the first index in a layout, or the layout's own index if that lists
// the platforms itself.
func layoutBase(directory string) (v1.ImageIndex, error) {
	index, err := layout.ImageIndexFromPath(directory)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, descriptor := range manifest.Manifests {
		if descriptor.MediaType.IsIndex() {
			return index.ImageIndex(descriptor.Digest)
		}
	}
	return index, nil
}

// certificatesBase returns an image with the files that a static program needs: Mozilla's
// root certificates, for calls of AWS, and a name for the user. The webhook's image also has
// the path that the manifests of amazon-eks-pod-identity-webhook start, so that these
// manifests work if only the image is replaced.
func certificatesBase(of program) (v1.ImageIndex, error) {
	files, err := certificatesLayer(of)
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms() {
		image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		image, err := mutate.ConfigFile(image, &v1.ConfigFile{
			OS: platform.OS, Architecture: platform.Architecture, RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{User: user, WorkingDir: "/"},
		})
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: files, History: v1.History{CreatedBy: "CA certificates and /etc/passwd"},
		}); err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	return index, nil
}

func certificatesLayer(of program) (v1.Layer, error) {
	var certificates bytes.Buffer
	for root := range bundle.Roots() {
		// A certificate file cannot express that a root is trusted only for certificates
		// issued before a date, so omit such roots.
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&certificates, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, entry := range []struct{ name, content string }{
		{"etc/", ""},
		{"etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"},
		{"etc/group", "root:x:0:\nnonroot:x:65532:\n"},
		{"etc/ssl/", ""},
		{"etc/ssl/certs/", ""},
		{"etc/ssl/certs/ca-certificates.crt", certificates.String()},
	} {
		header := &tar.Header{Name: entry.name, Typeflag: tar.TypeReg, Mode: 0o444, Size: int64(len(entry.content))}
		if strings.HasSuffix(entry.name, "/") {
			header.Typeflag, header.Mode = tar.TypeDir, 0o555
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(archive, entry.content); err != nil {
			return nil, err
		}
	}
	if of == webhook {
		link := &tar.Header{Name: "webhook", Linkname: "/ko-app/" + string(webhook), Typeflag: tar.TypeSymlink, Mode: 0o777}
		if err := archive.WriteHeader(link); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
