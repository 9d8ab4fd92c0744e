package main

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/mod/modfile"
)

// kindModule returns the directory of kind's Go module.
func kindModule(t *testing.T) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// dockerfile returns the Dockerfile of kind's base image.
func dockerfile(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(kindModule(t), "images", "base", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The Dockerfile copies programs from stages that this package replaces. Each must be in
// the replacement.
func TestSources_allFilesOfTheDockerfile(t *testing.T) {
	provided := map[string]bool{runcStage + " /runc/runc": true}
	for _, source := range sources {
		for _, program := range source.programs {
			provided[source.stage+" /"+source.path+"/"+program] = true
		}
	}
	copied := 0
	for _, match := range regexp.MustCompile(`(?m)^COPY --from=(build-\S+) (\S+)`).FindAllStringSubmatch(dockerfile(t), -1) {
		if strings.HasPrefix(match[2], "/"+licenses+"/") {
			continue
		}
		copied++
		if !provided[match[1]+" "+match[2]] {
			t.Errorf("the Dockerfile copies %s from stage %s, which no source has", match[2], match[1])
		}
	}
	if copied != len(provided) {
		t.Errorf("got %d files copied by the Dockerfile, want the %d of the sources", copied, len(provided))
	}
}

// The image has the versions of kind's published image.
func TestPrograms_versions(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("programs", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	module, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := make(map[string]string)
	for _, require := range module.Require {
		versions[require.Mod.Path] = require.Mod.Version
	}
	for argument, path := range map[string]string{
		"CONTAINERD_VERSION":                "github.com/containerd/containerd/v2",
		"CNI_PLUGINS_VERSION":               "github.com/containernetworking/plugins",
		"CONTAINERD_FUSE_OVERLAYFS_VERSION": "github.com/containerd/fuse-overlayfs-snapshotter/v2",
	} {
		want := regexp.MustCompile(`(?m)^ARG ` + argument + `="?([^"\s]+)`).FindStringSubmatch(dockerfile(t))
		if want == nil || versions[path] != want[1] {
			t.Errorf("got %s %s in programs/go.mod, want %v of the Dockerfile", path, versions[path], want)
		}
	}
}

func TestNames(t *testing.T) {
	kubeadm := filepath.Join(t.TempDir(), "kubeadm")
	const script = `#!/bin/sh
test "$*" = "config images list --kubernetes-version v1.37.0" || exit 1
echo registry.k8s.io/kube-proxy:v1.37.0
echo registry.k8s.io/coredns/coredns:v1.14.0
echo registry.k8s.io/pause:9.9
`
	if err := os.WriteFile(kubeadm, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b := builder{programs: directories{filepath.Dir(kubeadm)}, module: kindModule(t)}
	names, err := b.names(t.Context(), "v1.37.0")
	if err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{
		"kube-proxy":             "registry.k8s.io/kube-proxy:v1.37.0",
		"coredns":                "registry.k8s.io/coredns/coredns:v1.14.0",
		"pause":                  "registry.k8s.io/pause:3.", // not the one of kubeadm
		"podnetwork":             "docker.io/kindest/kindnetd:v",
		"local-path-provisioner": "docker.io/kindest/local-path-provisioner:v",
		noProgram:                "docker.io/kindest/local-path-helper:v",
	} {
		if !strings.HasPrefix(names[program], want) {
			t.Errorf("%q: got image %q, want %s...", program, names[program], want)
		}
	}
}

func TestStringConstant_missing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.go")
	if err := os.WriteFile(file, []byte("package x\n\nconst a = \"A\"\n\nconst b = a + `B`\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := stringConstant(file, "b"); got != "AB" || err != nil {
		t.Errorf("got %q (%v), want AB", got, err)
	}
	if _, err := stringConstant(file, "c"); err == nil || !strings.Contains(err.Error(), "has no constant c") {
		t.Errorf("got %v, want an error with the name of the constant", err)
	}
}

// kind's builder reads the names of all images only from a file repositories before
// manifest.json. The names must be as kind writes them.
func TestWriteArchive_names(t *testing.T) {
	images := make(map[name.Reference]v1.Image)
	for reference, architecture := range map[string]string{"registry.k8s.io/etcd:3.7.0-0": "a", "docker.io/kindest/kindnetd:v1": "b"} {
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: architecture})
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(reference)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = image
	}
	path := filepath.Join(t.TempDir(), "images.tar")
	if err := writeArchive(path, images); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	entries := tar.NewReader(file)
	first, err := entries.Next()
	if err != nil || first.Name != "repositories" {
		t.Fatalf("got first entry %+v (%v), want repositories", first, err)
	}
	var repositories map[string]map[string]string
	if err := json.NewDecoder(entries).Decode(&repositories); err != nil {
		t.Fatal(err)
	}
	for repository, tag := range map[string]string{"registry.k8s.io/etcd": "3.7.0-0", "docker.io/kindest/kindnetd": "v1"} {
		if _, ok := repositories[repository][tag]; !ok || len(repositories) != 2 {
			t.Errorf("got repositories %v, want %s with tag %s, and 2 in total", repositories, repository, tag)
		}
	}
	var others []string
	for {
		entry, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, entry.Name)
	}
	if len(others) != 3 || others[2] != "manifest.json" {
		t.Errorf("got other entries %v, want two configurations and manifest.json", others)
	}
}
