package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/remote"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/versions"
)

type platform struct{ os, arch string }

// download is an archive to download: its index, version, platform and target directory.
type download struct {
	index, minor, directory string
	platform                platform
	patience                time.Duration
	progress                io.Writer
}

// programs are the programs to extract from an archive.
var programs = map[string]bool{"etcd": true, "kube-apiserver": true}

// run downloads the archive and returns its version. On an error, it does not change the
// directory.
func (d download) run(ctx context.Context) (string, error) {
	client := &remote.HTTPClient{Log: logr.Discard(), IndexURL: d.index}
	indexCtx, cancel := context.WithTimeoutCause(ctx, d.patience, errStalled)
	defer cancel()
	sets, err := client.ListVersions(indexCtx)
	if err != nil {
		return "", withCause(indexCtx, err)
	}
	version, item, err := d.choose(sets)
	if err != nil {
		return "", err
	}

	archive, err := os.CreateTemp("", "envtest-*.tar.gz")
	if err != nil {
		return "", err
	}
	defer func() { _ = errors.Join(archive.Close(), os.Remove(archive.Name())) }()
	ctx, stall := context.WithCancelCause(ctx)
	defer stall(nil)
	out := newProgressWriter(archive, d.progress, d.patience, func() { stall(errStalled) })
	defer out.stop()
	// GetVersion verifies the checksum.
	if err := client.GetVersion(ctx, version, item, out); err != nil {
		return "", withCause(ctx, err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return version.String(), extract(archive, d.directory)
}

// withCause adds the cause of a canceled context to the error of its request.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// choose returns the newest archive of the minor version for the platform, or an error if
// there is none.
func (d download) choose(sets []versions.Set) (versions.Concrete, versions.PlatformItem, error) {
	for _, set := range sets { // ordered from newest to oldest
		if fmt.Sprintf("%d.%d", set.Version.Major, set.Version.Minor) != d.minor {
			continue
		}
		for _, item := range set.Platforms {
			if item.OS == d.platform.os && item.Arch == d.platform.arch {
				return set.Version, item, nil
			}
		}
	}
	return versions.Concrete{}, versions.PlatformItem{}, fmt.Errorf("%s has no Kubernetes %s for %s/%s", d.index, d.minor, d.platform.os, d.platform.arch)
}

// extract writes all programs of an archive to a directory. On an error, it writes none.
func extract(archive io.Reader, directory string) error {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("unzip archive: %w", err)
	}
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(directory, ".envtest-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(staging) }()
	found := map[string]bool{}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if name := path.Base(entry.Name); entry.Typeflag == tar.TypeReg && programs[name] {
			if err := writeProgram(filepath.Join(staging, name), entries); err != nil {
				return err
			}
			found[name] = true
		}
	}
	for name := range programs {
		if !found[name] {
			return fmt.Errorf("the archive has no %s", name)
		}
	}
	for name := range programs {
		if err := os.Rename(filepath.Join(staging, name), filepath.Join(directory, name)); err != nil {
			return err
		}
	}
	return nil
}

func writeProgram(name string, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // a path of the caller, and a program
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
