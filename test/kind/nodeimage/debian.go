package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// debianProgram installs Debian packages into a directory or an archive, and needs no
// engine and no root.
const debianProgram = "mmdebstrap"

// Files of debian, in the working directory.
const (
	debianRoot  = "debian.tar"
	runcRoot    = "runc.tar"
	proxyRoot   = "kube-proxy.tar"
	busyboxRoot = "busybox.tar"
)

// debian downloads the Debian packages: a minimal system for the base image, and the
// extracted packages of the programs that are not written in Go.
func (b *builder) debian(ctx context.Context, directory string) error {
	for _, root := range []struct {
		file string
		args []string
	}{
		{debianRoot, []string{"--variant=minbase"}},
		// runc needs cgo and libseccomp, so it does not build from its Go module alone.
		{runcRoot, []string{"--variant=extract", "--include=runc"}},
		{proxyRoot, []string{"--variant=extract", "--include=iptables,nftables,conntrack,kmod"}},
		{busyboxRoot, []string{"--variant=extract", "--include=busybox-static"}},
	} {
		args := append([]string{"--quiet"}, root.args...)
		args = append(args, b.suite, filepath.Join(directory, root.file), b.mirror)
		command := exec.CommandContext(ctx, debianProgram, args...) //nolint:gosec // the user says which release and mirror
		// The same packages give the same archive.
		command.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
		command.Stdout, command.Stderr = b.out, b.out
		if err := command.Run(); err != nil {
			return err
		}
	}
	return nil
}
