package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inputsLabel is the label of the image with the hash of its inputs.
const inputsLabel = "pod-identity-webhook.inputs"

// directories is a list of directories, and a flag.
type directories []string

func (d *directories) String() string { return strings.Join(*d, ",") }

// Set implements flag.Value.
func (d *directories) Set(value string) error {
	*d = strings.Split(value, ",")
	return nil
}

// find returns the path of a program. It returns an error if no directory has it.
func (d directories) find(program string) (string, error) {
	for _, directory := range d {
		path := filepath.Join(directory, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is in none of the directories %s", program, strings.Join(d, ", "))
}

// copyTo copies programs to a directory, which it creates.
func (d directories) copyTo(directory string, programs ...string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil { //nolint:gosec // the image's users read it
		return err
	}
	for _, program := range programs {
		from, err := d.find(program)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(from) //nolint:gosec // the user says which
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(directory, program), content, 0o755); err != nil { //nolint:gosec // a program
			return err
		}
	}
	return nil
}

// module returns the Go module and version that a program was built from.
func (d directories) module(program string) (string, error) {
	path, err := d.find(program)
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, module := range info.Deps {
		if info.Path == module.Path || strings.HasPrefix(info.Path, module.Path+"/") {
			return module.Path + " " + module.Version, nil
		}
	}
	return info.Main.Path + " " + info.Main.Version, nil
}

// inputs returns a hash of this program, of kind, of all programs in the image, and of the
// source of the Debian packages. Packages that change at the same source do not change it.
func (b *builder) inputs() (string, error) {
	hash := sha256.New()
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := []string{self, b.kind}
	for _, program := range b.allPrograms() {
		file, err := b.programs.find(program)
		if err != nil {
			return "", err
		}
		files = append(files, file)
	}
	for _, file := range files {
		content, err := os.Open(file) //nolint:gosec // the user says which
		if err != nil {
			return "", err
		}
		_, err = io.Copy(hash, content)
		_ = content.Close()
		if err != nil {
			return "", err
		}
	}
	fmt.Fprintln(hash, b.name, filepath.Base(b.module), b.suite, b.mirror)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// allPrograms returns the names of the programs in the image, without duplicates.
func (b *builder) allPrograms() []string {
	var all []string
	for _, source := range sources {
		all = append(all, source.programs...)
	}
	all = append(all, nodePrograms...)
	for _, image := range images {
		all = append(all, image.program)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// current reports whether the engine has the image, built from these inputs.
func (b *builder) current(ctx context.Context, inputs string) bool {
	label, err := b.engine.Output(ctx, "image", "inspect", "--format", `{{index .Config.Labels "`+inputsLabel+`"}}`, b.name)
	return err == nil && strings.TrimSpace(string(label)) == inputs
}
