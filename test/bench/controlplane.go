package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

// startControlPlane starts a control plane in a new directory, which the caller can use
// too. remove stops the control plane and removes the directory.
func startControlPlane(ctx context.Context, progress io.Writer) (cluster *controlplane.ControlPlane, dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", "pod-identity-webhook-bench-"); err != nil {
		return nil, "", nil, err
	}
	if cluster, err = controlplane.Start(ctx, controlplane.Options{Dir: dir, Log: progress}); err != nil {
		return nil, "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return cluster, dir, func() error {
		cluster.Stop()
		return os.RemoveAll(dir)
	}, nil
}
