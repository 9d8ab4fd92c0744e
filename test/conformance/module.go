package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	apiServer        = "kube-apiserver"
)

// writeModule writes the module that builds the API server of a release, and the other
// commands, into the directory of its minor version. Requirements have the versions of the
// release.
func writeModule(ctx context.Context, dir, version string, commands ...string) error {
	r, err := parseRelease("v" + version)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", kubernetesModule+"@"+r.String()) // #nosec G204 -- a release
	command.Dir = dir
	output, err := command.Output()
	if err != nil {
		return commandError("download "+kubernetesModule, err)
	}
	var downloaded struct{ GoMod string }
	if err := json.Unmarshal(output, &downloaded); err != nil {
		return err
	}
	theirs, err := readModule(downloaded.GoMod)
	if err != nil {
		return err
	}
	directory := filepath.Join(dir, r.minorVersion())
	if err := os.MkdirAll(directory, 0o755); err != nil { // #nosec G301 -- as git makes it
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "go.mod"), moduleOf(r, theirs, append([]string{apiServer}, commands...)), 0o644); err != nil { // #nosec G306 -- as git makes it
		return err
	}
	tidy := exec.CommandContext(ctx, "go", "mod", "tidy")
	tidy.Dir, tidy.Stdout, tidy.Stderr = directory, os.Stdout, os.Stderr
	return tidy.Run()
}

// moduleOf returns the go.mod that builds commands of a release with the go.mod theirs. Run
// go mod tidy on it.
func moduleOf(r release, theirs module, commands []string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `// Programs of Kubernetes %[1]s, for make conformance and make kind-image. Written by
// make server-module RELEASE=%[2]s.
module github.com/pod-identity-webhook/pod-identity-webhook/test/assets/%[1]s

go 1.26.0

godebug default=%[3]s

tool (
	%[4]s
)

require %[5]s %[6]s // indirect

// k8s.io/kubernetes requires its staging modules at v0.0.0; each is published
// as %[7]s.
replace (
`, r.minorVersion(), strings.TrimPrefix(r.String(), "v"), theirs.goDebugDefault(), toolPaths(commands), kubernetesModule, r, r.staging())
	for _, replaced := range theirs.Replace {
		if strings.HasPrefix(replaced.New.Path, "./staging/") {
			fmt.Fprintf(&b, "\t%s => %[1]s %s\n", replaced.Old.Path, r.staging())
		}
	}
	b.WriteString(")\n")
	return []byte(b.String())
}

// toolPaths returns the packages of commands, in the lines of a block.
func toolPaths(commands []string) string {
	paths := make([]string, 0, len(commands))
	for _, command := range commands {
		paths = append(paths, kubernetesModule+"/cmd/"+command)
	}
	return strings.Join(paths, "\n\t")
}

// goDebugDefault returns the Go version of a release's runtime defaults, such as go1.22.
// Without a godebug directive, it is the version of the go directive.
func (m module) goDebugDefault() string {
	for _, setting := range m.GoDebug {
		if setting.Key == "default" {
			return setting.Value
		}
	}
	parts := strings.Split(m.Go, ".")
	return "go" + strings.Join(parts[:2], ".")
}
