package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	kobuild "github.com/google/ko/pkg/build"
	specsv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/cosign/v3/pkg/oci"
)

// commands is the import path of the programs' directory.
const commands = "github.com/pod-identity-webhook/pod-identity-webhook/cmd/"

// platforms returns the platforms of the images.
func platforms() []v1.Platform {
	return []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
}

// build has all inputs on which the image depends.
type build struct {
	// source is the directory of the repository's module.
	source  string
	program program
	base    base
	// version and commit are for the labels, ldflags for the linker.
	version, commit, ldflags string
	date                     time.Time
}

// image builds the program for each platform and adds it to the base.
func (b build) image(ctx context.Context) (image, error) {
	var specs []string
	for _, platform := range platforms() {
		specs = append(specs, platform.String())
	}
	options := []kobuild.Option{
		kobuild.WithBaseImages(func(context.Context, string) (name.Reference, kobuild.Result, error) {
			return b.base.name, b.base.index, nil
		}),
		kobuild.WithPlatforms(specs...),
		kobuild.WithUser(user + ":" + user),
		kobuild.WithTrimpath(true),
		kobuild.WithLdflags([]string{b.ldflags}),
		// The version is set by the linker flags. A build without git, or from a copy, must
		// have the same result.
		kobuild.WithDefaultFlags([]string{"-buildvcs=false"}),
		// Override the machine's settings.
		kobuild.WithDefaultEnv([]string{"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off"}),
		kobuild.WithCreationTime(v1.Time{Time: b.date}),
		kobuild.WithKoDataCreationTime(v1.Time{Time: b.date}),
		kobuild.WithSPDX(koVersion()),
	}
	for key, value := range b.labels() {
		options = append(options, kobuild.WithLabel(key, value), kobuild.WithAnnotation(key, value))
	}
	builder, err := kobuild.NewGo(ctx, b.source, options...)
	if err != nil {
		return image{}, fmt.Errorf("set up ko: %w", err)
	}
	result, err := builder.Build(ctx, kobuild.StrictScheme+commands+string(b.program))
	if err != nil {
		return image{}, fmt.Errorf("build image: %w", err)
	}
	index, ok := result.(oci.SignedImageIndex)
	if !ok {
		return image{}, fmt.Errorf("build image: ko returned a %T, want an index of %v", result, specs)
	}
	return newImage(b.program, index)
}

// labels returns the labels of each image. They are also annotations of each manifest and
// of the index.
func (b build) labels() map[string]string {
	return map[string]string{
		specsv1.AnnotationTitle:       string(b.program),
		specsv1.AnnotationDescription: b.program.description(),
		specsv1.AnnotationLicenses:    "Apache-2.0",
		specsv1.AnnotationVersion:     b.version,
		specsv1.AnnotationRevision:    b.commit,
		specsv1.AnnotationCreated:     b.date.Format(time.RFC3339),
	}
}

// koVersion returns the version of ko in this program, for the SBOM.
func koVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/google/ko" {
				return module.Version
			}
		}
	}
	return "unknown"
}
