package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// builtImage is an image of `make image` and its inputs, which `make test-image` sets.
type builtImage struct {
	program                                          program
	directory, name, version, commit, epoch, ldflags string
}

// eachImage runs a test for the image of each program.
func eachImage(t *testing.T, test func(*testing.T, builtImage)) {
	t.Helper()
	for _, program := range programs() {
		t.Run(string(program), func(t *testing.T) { test(t, theImage(t, program)) })
	}
}

func theImage(t *testing.T, of program) builtImage {
	t.Helper()
	m := builtImage{program: of}
	nameVariable := map[program]string{webhook: "IMAGE_NAME", localSTS: "LOCAL_STS_IMAGE"}[of]
	for variable, value := range map[string]*string{
		"IMAGE_DIRECTORY": &m.directory, nameVariable: &m.name, "IMAGE_VERSION": &m.version,
		"IMAGE_COMMIT": &m.commit, "IMAGE_EPOCH": &m.epoch, "IMAGE_LDFLAGS": &m.ldflags,
	} {
		if *value = os.Getenv(variable); *value == "" {
			t.Fatalf("%s is not set: run make test-image", variable)
		}
	}
	m.directory = filepath.Join(m.directory, string(of))
	return m
}

// archive returns the path of the image archive.
func (m builtImage) archive() string { return filepath.Join(m.directory, string(m.program)+".tar") }

func (m builtImage) index(t *testing.T) v1.ImageIndex {
	t.Helper()
	index, err := layoutBase(filepath.Join(m.directory, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// images returns the images of the index, by architecture.
func (m builtImage) images(t *testing.T) map[string]v1.Image {
	t.Helper()
	index := m.index(t)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := make(map[string]v1.Image)
	for _, descriptor := range manifest.Manifests {
		if descriptor.Platform.OS != "linux" {
			t.Errorf("got an image for %s", descriptor.Platform)
		}
		if images[descriptor.Platform.Architecture], err = index.Image(descriptor.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return images
}

func (m builtImage) digest(t *testing.T) string {
	t.Helper()
	digest, err := m.index(t).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestImage_platforms(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		images := m.images(t)
		if len(images) != 2 || images["amd64"] == nil || images["arm64"] == nil {
			t.Errorf("got images for %v", images)
		}
		if err := validate.Index(m.index(t)); err != nil {
			t.Errorf("invalid layout: %v", err)
		}
		written, err := os.ReadFile(filepath.Join(m.directory, "digest"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(written)); got != m.digest(t) {
			t.Errorf("got digest %s in the file, want the index's %s", got, m.digest(t))
		}
	})
}

func TestImage_labels(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		seconds, err := strconv.ParseInt(m.epoch, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"org.opencontainers.image.title":    string(m.program),
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  m.version,
			"org.opencontainers.image.revision": m.commit,
			"org.opencontainers.image.created":  time.Unix(seconds, 0).UTC().Format(time.RFC3339),
		}
		check := func(where string, got map[string]string) {
			t.Helper()
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%s: got %s %q, want %q", where, key, got[key], value)
				}
			}
			if got["org.opencontainers.image.description"] == "" {
				t.Errorf("%s has no description", where)
			}
		}
		index, err := m.index(t).IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		check("the index", index.Annotations)
		for architecture, image := range m.images(t) {
			manifest, err := image.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			check("the manifest for "+architecture, manifest.Annotations)
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			check("the labels for "+architecture, config.Config.Labels)
			if config.Architecture != architecture {
				t.Errorf("image for %s: got architecture %s", architecture, config.Architecture)
			}
			if config.Created.Unix() != seconds {
				t.Errorf("image for %s: got creation time %s", architecture, config.Created)
			}
			if config.Config.User != "65532:65532" {
				t.Errorf("image for %s: got user %q", architecture, config.Config.User)
			}
		}
	})
}

func TestImage_contents(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
		for architecture, image := range m.images(t) {
			files := contents(t, image)
			var names []string
			for name := range files {
				names = append(names, name)
			}
			slices.Sort(names)
			if want := []string{"etc/group", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", strings.TrimPrefix(entrypoint(t, image), "/")}; !slices.Equal(names, want) {
				t.Errorf("%s: got %v, want %v", architecture, names, want)
			}
			program, err := elf.NewFile(bytes.NewReader(files[strings.TrimPrefix(entrypoint(t, image), "/")]))
			if err != nil {
				t.Fatal(err)
			}
			if program.Machine != machines[architecture] {
				t.Errorf("%s: got a program for %s", architecture, program.Machine)
			}
			for _, segment := range program.Progs {
				if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
					t.Errorf("%s: got segment %s, want a static program", architecture, segment.Type)
				}
			}
			if !strings.Contains(string(files["etc/passwd"]), ":65532:65532:") {
				t.Errorf("%s: the user has no name in /etc/passwd", architecture)
			}
			var subjects []string
			for rest := files["etc/ssl/certs/ca-certificates.crt"]; ; {
				var block *pem.Block
				if block, rest = pem.Decode(rest); block == nil {
					break
				}
				root, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				subjects = append(subjects, root.Subject.CommonName)
			}
			if len(subjects) < 100 || !slices.Contains(subjects, "Amazon Root CA 1") {
				t.Errorf("%s: got %d root certificates, want Amazon Root CA 1 among them: %v", architecture, len(subjects), subjects)
			}
		}
	})
}

// TestCertificatesBase_pathOfTheReference checks the link at the path that the manifests of
// the reference start.
func TestCertificatesBase_pathOfTheReference(t *testing.T) {
	for program, want := range map[program]string{webhook: "/ko-app/pod-identity-webhook", localSTS: ""} {
		index, err := certificatesBase(program)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(manifest.Manifests) != len(platforms()) {
			t.Errorf("%s: got %d platforms", program, len(manifest.Manifests))
		}
		for _, descriptor := range manifest.Manifests {
			image, err := index.Image(descriptor.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got := linkOf(t, image, "webhook"); got != want {
				t.Errorf("%s: got link /webhook to %q, want %q", program, got, want)
			}
		}
	}
}

func TestTheWebhookImage_startsUnderThePathOfTheReference(t *testing.T) {
	for architecture, image := range theImage(t, webhook).images(t) {
		// Other base images have no link.
		if got := linkOf(t, image, "webhook"); os.Getenv("IMAGE_BASE") == "" && got != entrypoint(t, image) {
			t.Errorf("%s: got link /webhook to %q, want the entry point %q", architecture, got, entrypoint(t, image))
		}
	}
}

// linkOf returns the target of a symbolic link in an image, or an empty string if the link
// does not exist.
func linkOf(t *testing.T, image v1.Image, name string) string {
	t.Helper()
	extracted := mutate.Extract(image)
	defer extracted.Close()
	for reader := tar.NewReader(extracted); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeSymlink && path.Clean(header.Name) == name {
			return header.Linkname
		}
	}
}

func TestImage_sboms(t *testing.T) {
	needs := map[program][]string{
		webhook:  {"k8s.io/client-go", "github.com/prometheus/client_golang"},
		localSTS: {"github.com/coreos/go-oidc/v3", "github.com/aws/aws-sdk-go-v2/service/sts"},
	}
	eachImage(t, func(t *testing.T, m builtImage) {
		directory, err := layout.ImageIndexFromPath(filepath.Join(m.directory, "layout"))
		if err != nil {
			t.Fatal(err)
		}
		listed, err := directory.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		documents := make(map[string][]byte) // by the digest of their subject
		for _, descriptor := range listed.Manifests {
			if descriptor.MediaType.IsIndex() {
				continue
			}
			artifact, err := directory.Image(descriptor.Digest)
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := artifact.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if descriptor.ArtifactType != "application/spdx+json" || manifest.Subject == nil || len(manifest.Layers) != 1 {
				t.Fatalf("got a manifest that is neither the image nor an SBOM with a subject: %+v", descriptor)
			}
			layers, err := artifact.Layers()
			if err != nil {
				t.Fatal(err)
			}
			content, err := layers[0].Compressed() // the layer is not compressed
			if err != nil {
				t.Fatal(err)
			}
			if documents[manifest.Subject.Digest.String()], err = io.ReadAll(content); err != nil {
				t.Fatal(err)
			}
		}
		describes := func(digest, file string, packages ...string) {
			t.Helper()
			var document struct {
				SPDXVersion string `json:"spdxVersion"`
				Packages    []struct {
					Name string `json:"name"`
				} `json:"packages"`
			}
			if err := json.Unmarshal(documents[digest], &document); err != nil {
				t.Fatalf("SBOM of %s: %v", digest, err)
			}
			var names []string
			for _, described := range document.Packages {
				names = append(names, described.Name)
			}
			for _, want := range append(packages, digest) {
				if !slices.Contains(names, want) {
					t.Errorf("SBOM of %s: got no %s in %v", digest, want, names)
				}
			}
			if document.SPDXVersion != "SPDX-2.3" {
				t.Errorf("SBOM of %s: got SPDX version %q", digest, document.SPDXVersion)
			}
			asFile, err := os.ReadFile(filepath.Join(m.directory, "sbom", file))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(asFile, documents[digest]) {
				t.Errorf("SBOM of %s differs from sbom/%s", digest, file)
			}
		}
		var platforms []string
		for architecture, image := range m.images(t) {
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			platforms = append(platforms, digest.String())
			describes(digest.String(), "linux-"+architecture+".spdx.json", needs[m.program]...)
		}
		describes(m.digest(t), "index.spdx.json", platforms...)
	})
}

// TestArchive reads the archive with manifest.json, as Docker does, and with index.json, as
// containerd does.
func TestArchive(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		file := m.archive()
		tag, err := name.NewTag(m.name)
		if err != nil {
			t.Fatal(err)
		}
		docker, err := tarball.ImageFromPath(file, &tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(docker); err != nil {
			t.Errorf("invalid image for Docker: %v", err)
		}
		ours := m.images(t)[runtime.GOARCH]
		got, err := docker.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		if want, err := ours.ConfigName(); err != nil || got != want {
			t.Errorf("got image %s for Docker, want %s (%v)", got, want, err)
		}

		directory := t.TempDir()
		content, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		for name, bytes := range untar(t, content) {
			if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
				if sum := sha256.Sum256(bytes); hex.EncodeToString(sum[:]) != digest {
					t.Errorf("%s: the content does not match the digest", name)
				}
			}
			to := filepath.Join(directory, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, bytes, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		index, err := layout.ImageIndexFromPath(directory)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest.String() != m.digest(t) {
			t.Errorf("got manifests %+v for containerd, want only %s", manifest.Manifests, m.digest(t))
		}
		if got := manifest.Manifests[0].Annotations["io.containerd.image.name"]; got != m.name {
			t.Errorf("got image name %q for containerd, want %q", got, m.name)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("invalid image for containerd: %v", err)
		}
	})
}

// TestImage_reproducible builds the image again as on another machine: in another directory,
// with other settings of the Go toolchain and the environment, and without git.
func TestImage_reproducible(t *testing.T) {
	eachImage(t, func(t *testing.T, m builtImage) {
		source := t.TempDir()
		for _, part := range []string{"go.mod", "go.sum", "cmd", "pkg", "certs", "internal"} {
			copyTree(t, filepath.Join("..", "..", part), filepath.Join(source, part))
		}
		for variable, value := range map[string]string{
			"TZ": "Asia/Seoul", "LC_ALL": "C", "GOAMD64": "v3", "GOARM64": "v9.0", "CGO_ENABLED": "1",
			"GOFLAGS": "-buildvcs=auto", "TMPDIR": t.TempDir(),
		} {
			t.Setenv(variable, value)
		}
		umask := syscall.Umask(0o077)
		defer syscall.Umask(umask)
		out := filepath.Join(t.TempDir(), "image")
		if err := realMain(t.Context(), []string{
			"-program", string(m.program), "-source", source, "-out", out, "-name", m.name, "-base", os.Getenv("IMAGE_BASE"),
			"-version", m.version, "-commit", m.commit, "-date", m.epoch, "-ldflags", m.ldflags,
		}, io.Discard, os.Stderr); err != nil {
			t.Fatal(err)
		}
		again := builtImage{program: m.program, directory: out}
		if got, want := again.digest(t), m.digest(t); got != want {
			t.Errorf("got digest %s in the second build, want %s", got, want)
		}
		first, second := fileSum(t, m.archive()), fileSum(t, again.archive())
		if first != second {
			t.Error("the archives differ")
		}
		if first, second := fileSum(t, filepath.Join(m.directory, "layout", "index.json")), fileSum(t, filepath.Join(out, "layout", "index.json")); first != second {
			t.Error("the SBOMs in the layouts differ")
		}
	})
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(discardLogger())))
	defer server.Close()
	reference, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/pod-identity-webhook:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(1024, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	subject := v1.Descriptor{MediaType: "application/vnd.oci.image.index.v1+json", Digest: digest}
	built := image{index: index, sboms: []sbom{{of: "index", subject: subject, content: []byte("{}")}}}
	if err := built.push(t.Context(), reference); err != nil {
		t.Fatal(err)
	}
	if pushed, err := remote.Get(reference); err != nil || pushed.Digest != digest {
		t.Errorf("got %v, error %v, want %s", pushed, err, digest)
	}
	referrers, err := remote.Referrers(reference.Digest(digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := referrers.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].ArtifactType != "application/spdx+json" {
		t.Errorf("got manifests %+v in the registry", manifest.Manifests)
	}
}

func TestFindBase(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(discardLogger())))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	index, err := certificatesBase(localSTS)
	if err != nil {
		t.Fatal(err)
	}
	single, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	for reference, push := range map[string]func(name.Reference) error{
		"/several:v1": func(to name.Reference) error { return remote.WriteIndex(to, index) },
		"/single:v1":  func(to name.Reference) error { return remote.Write(to, single) },
		"/foreign:v1": func(to name.Reference) error {
			foreign, err := random.Index(1024, 1, 1)
			if err != nil {
				return err
			}
			return remote.WriteIndex(to, foreign)
		},
	} {
		to, err := name.ParseReference(host + reference)
		if err != nil {
			t.Fatal(err)
		}
		if err := push(to); err != nil {
			t.Fatal(err)
		}
	}
	directory := t.TempDir()
	if _, err := layout.Write(filepath.Join(directory, "listed"), index); err != nil {
		t.Fatal(err)
	}
	nested, err := layout.Write(filepath.Join(directory, "nested"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := nested.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for from, fails := range map[string]string{
		"":                   "",
		host + "/several:v1": "",
		"oci:" + filepath.Join(directory, "nested"):  "",
		"oci:" + filepath.Join(directory, "listed"):  "",
		host + "/single:v1":                          "must be a multi-platform index",
		host + "/foreign:v1":                         "has no image for linux/amd64",
		host + "/missing:v1":                         "get base image",
		"oci:" + filepath.Join(directory, "missing"): "read base image",
		"No Reference":                               "base image:",
	} {
		found, err := findBase(t.Context(), from, localSTS)
		if fails != "" {
			if err == nil || !strings.Contains(err.Error(), fails) {
				t.Errorf("%q: got %v, want an error with %q", from, err, fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: got %v", from, err)
			continue
		}
		if got, err := found.index.Digest(); err != nil || got != want {
			t.Errorf("%q: got %s (%v), want %s", from, got, err, want)
		}
	}
}

// contents returns the files of an image, by path without the leading slash.
func contents(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	extracted := mutate.Extract(image)
	defer extracted.Close()
	return untar(t, extracted)
}

func untar(t *testing.T, from io.Reader) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for reader := tar.NewReader(from); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if files[strings.TrimPrefix(path.Clean(header.Name), "/")], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func entrypoint(t *testing.T, image v1.Image) string {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Config.Entrypoint) != 1 {
		t.Fatalf("got entry point %v", config.Config.Entrypoint)
	}
	return config.Config.Entrypoint[0]
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, relative), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), content, 0o644)
	}); err != nil {
		t.Fatal(err)
	}
}

func fileSum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}

func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }
