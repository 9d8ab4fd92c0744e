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

// commands is the directory of the product's programs.
const commands = "github.com/pod-identity-webhook/pod-identity-webhook/cmd/"

// platforms are those that the image is for.
func platforms() []v1.Platform {
	return []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
}

// build says what to build, and all that the image depends on.
type build struct {
	// source is the directory of the product's module.
	source  string
	program program
	base    base
	// version and commit go into the labels, ldflags to the linker.
	version, commit, ldflags string
	date                     time.Time
}

// image builds the program for each platform and puts it on the base.
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
		// What git says is linked in; a program that is built without git, or
		// from a copy, must be the same.
		kobuild.WithDefaultFlags([]string{"-buildvcs=false"}),
		// Whatever the machine's settings are.
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
		return image{}, fmt.Errorf("set ko up: %w", err)
	}
	result, err := builder.Build(ctx, kobuild.StrictScheme+commands+string(b.program))
	if err != nil {
		return image{}, fmt.Errorf("build the image: %w", err)
	}
	index, ok := result.(oci.SignedImageIndex)
	if !ok {
		return image{}, fmt.Errorf("build the image: ko made a %T, not an index of %v", result, specs)
	}
	return newImage(b.program, index)
}

// labels are on each image and, as annotations, on each manifest and the index.
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

// koVersion is the ko that this program was built with; the SBOM names it.
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
